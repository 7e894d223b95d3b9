"""Are workers placed so that they fit, divide the batch and leave room for data tasks?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.runtime.topology import FREE_CPUS, FREE_SHARE, Node, capacity, choose_workers, place, world_sizes

nodes = st.lists(
    st.builds(Node, cpus=st.integers(1, 200).map(float), gpus=st.sampled_from([0.0, 0.0, 1.0, 4.0, 8.0])),
    min_size=1,
    max_size=5,
)


@given(nodes, st.integers(1, 512), st.integers(1, 64))
def test_a_placement_divides_the_batch_fits_and_leaves_cpus_free(cluster, batch_rows, most):
    if capacity(cluster) == 0:
        with pytest.raises(ValueError, match=r"engine.workers=1 needs"):
            place((1, most), cluster, batch_rows)
        return
    placed = place((1, most), cluster, batch_rows)
    assert batch_rows % placed.workers == 0 and 1 <= placed.workers <= min(most, capacity(cluster))
    assert placed.workers in placed.world_sizes
    assert placed.free_cpus >= max(FREE_CPUS, FREE_SHARE * sum(n.cpus for n in cluster) / len(cluster)) - 1e-9
    if placed.gpus_per_worker:
        assert placed.workers <= sum(n.gpus for n in cluster)
        assert placed.resources_per_worker["GPU"] == 1.0
    else:
        assert "GPU" not in placed.resources_per_worker


@given(st.integers(1, 2000), st.integers(1, 300))
def test_world_sizes_are_exactly_the_divisors_that_fit(batch_rows, most):
    assert set(world_sizes(batch_rows, most)) == {n for n in range(1, most + 1) if batch_rows % n == 0}


@given(nodes, st.integers(1, 512))
def test_one_more_node_never_makes_fewer_workers_fit(cluster, batch_rows):
    more = [*cluster, Node(cpus=64, gpus=8)] if any(n.gpus for n in cluster) else [*cluster, Node(cpus=64)]
    assert capacity(more) > capacity(cluster)
    if capacity(cluster):
        assert choose_workers((1, 64), more, batch_rows) >= choose_workers((1, 64), cluster, batch_rows)


def test_two_workers_fit_on_a_laptop_and_leave_two_cpus():
    placed = place(2, [Node(cpus=4)], batch_rows=32)
    assert placed.resources_per_worker == {"CPU": 1.0} and placed.free_cpus == 2.0
    assert placed.world_sizes == (1, 2, 4)


def test_workers_share_cpus_when_they_are_short():
    assert place(4, [Node(cpus=4)], batch_rows=32).cpus_per_worker == 0.5


def test_gpu_workers_take_a_gpu_and_a_cpu_each():
    placed = place((4, 8), [Node(cpus=96, gpus=8)], batch_rows=768)
    assert placed.workers == 8 and placed.resources_per_worker == {"CPU": 1.0, "GPU": 1.0}
    assert placed.free_cpus == 88


def test_a_head_without_gpus_takes_no_worker():
    assert capacity([Node(cpus=64), Node(cpus=96, gpus=8)]) == 8


@pytest.mark.parametrize(
    ("requested", "cluster", "batch_rows", "sentence"),
    [
        (
            8,
            [Node(48, 4)],
            64,
            "engine.workers=8 needs 8 GPUs; the cluster has 4: use engine.workers=4 or less",
        ),
        (9, [Node(4)], 64, "engine.workers=9 needs 4.5 CPUs .* the cluster has 4 CPUs: use engine.workers=6"),
        (1, [Node(1)], 64, "the cluster has 1 CPUs: so add CPUs"),
        (
            3,
            [Node(8)],
            32,
            "engine.workers=3 cannot share a batch of 32 rows .* use 1, 2, 4, 8, or .* 33 rows",
        ),
        (
            (5, 7),
            [Node(64, 8)],
            32,
            "engine.workers=5..7 cannot share a batch of 32 rows evenly; with 8 GPUs",
        ),
        ((4, 2), [Node(64, 8)], 32, r"engine.workers=\(4, 2\) is no range"),
        (0, [Node(64, 8)], 32, "engine.workers=0 is no range"),
        (1, [Node(64, 8)], 0, "batch_rows=0 holds no row; raise engine.batch_tokens"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_the_way_out(requested, cluster, batch_rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        choose_workers(requested, cluster, batch_rows)
