"""Does the installed Ray still have what we use without its promise?"""

import os

import pytest
import ray
import ray.actor
from jsonschema import ValidationError

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


def test_rays_template_of_an_azure_machine_is_where_it_was():
    assert {"vmSize", "priority"} <= ray_internals.azure_parameters()


def test_a_launch_file_is_checked_as_ray_does():
    whole = {"cluster_name": "a", "provider": {"type": "aws", "region": "eu-central-1"}}
    ray_internals.validate_launch_file(whole)
    with pytest.raises(ValidationError, match="nowhere"):
        ray_internals.validate_launch_file(whole | {"nowhere": 1})
