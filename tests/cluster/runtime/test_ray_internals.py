"""Does the installed Ray still have what we use without its promise?"""

import os

import pytest
import ray
import ray.actor
from jsonschema import ValidationError
from ray._private import parameter, services, utils

from cluster.runtime import ray_internals


def test_actor_classes_take_their_ids_from_the_kernel_and_rays_generator_does_not_begin():
    own = ray.actor.ActorClassID
    with ray_internals.class_ids_from_kernel():
        drawn = {ray.actor.ActorClassID.from_random().binary() for _ in range(2)}
        reads, writes = os.pipe()
        if os.fork() == 0:  # a fork draws other ids
            os.write(writes, ray.actor.ActorClassID.from_random().binary())
            os._exit(0)
        os.wait()
        drawn.add(os.read(reads, 64))
        os.close(reads)
        os.close(writes)
    assert len(drawn) == 3 and ray.actor.ActorClassID is own


def test_the_script_of_workers_is_exchanged_and_put_back():
    before = ray_internals.start_workers_by("/ours.py")
    assert before.endswith(".py") and ray_internals.start_workers_by(before) == "/ours.py"


@pytest.mark.parametrize(("logs", "metrics"), [(False, False), (True, True)])
def test_daemons_that_nobody_asks_are_left_out_while_a_local_ray_starts_and_only_then(logs: bool, metrics: bool):
    def now():
        node = services.get_node
        return parameter.RayParams, services.start_api_server, utils.get_dashboard_dependency_error, node

    before = now()
    with ray_internals.frugal_and_patient(logs=logs, metrics=metrics):
        params = parameter.RayParams()
        assert params.no_monitor and params.include_log_monitor is logs
        assert (services.start_api_server is before[1]) is metrics
        assert metrics or services.start_api_server(False, raise_on_failure=False) == ("", None)
        assert metrics or isinstance(utils.get_dashboard_dependency_error(), ImportError)
    assert now() == before


def test_a_raylet_that_comes_up_late_is_waited_for_and_one_that_does_not_is_told():
    asked = []

    def late(address: str, node_id: str) -> str:
        asked.append((address, node_id))
        if len(asked) < 4:
            raise RuntimeError("no node")
        return "node"

    assert ray_internals._wait_for(late, 60, "host:1", "a") == "node" and asked == [("host:1", "a")] * 4
    asked.clear()
    with pytest.raises(RuntimeError, match="no node"):
        ray_internals._wait_for(late, 0, "host:1", "a")


def test_rays_template_of_an_azure_machine_is_where_it_was():
    assert {"vmSize", "priority"} <= ray_internals.azure_parameters()


def test_a_launch_file_is_checked_as_ray_does():
    whole = {"cluster_name": "a", "provider": {"type": "aws", "region": "eu-central-1"}}
    ray_internals.validate_launch_file(whole)
    with pytest.raises(ValidationError, match="nowhere"):
        ray_internals.validate_launch_file(whole | {"nowhere": 1})
