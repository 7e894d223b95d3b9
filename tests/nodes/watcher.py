"""What does Ray's head say of its nodes, and when? A line of JSON at each change, from a process of its own.

Run on a machine of the cluster, because nobody else reaches it: `python -m tests.nodes.watcher HOST:PORT`.
"""

import json
import sys
import time

EVERY_SECONDS = 0.25


def main(address: str) -> None:
    """Look for ever; a head that does not answer is asked again."""
    from ray._raylet import GcsClient
    from ray.core.generated import gcs_pb2
    from ray.exceptions import RayError

    client = GcsClient(address=address)
    known: dict[str, str] = {}
    while True:
        try:
            found = client.get_all_node_info(timeout=5)
        except RayError:
            found = {}
        for key, info in found.items():
            node = key.hex()
            state = gcs_pb2.GcsNodeInfo.GcsNodeState.Name(info.state).lower()
            if state == "alive" and info.state_snapshot.state == gcs_pb2.NodeSnapshot.DRAINING:
                state = "draining"
            if known.get(node) != state:
                known[node] = state
                why = info.death_info.reason_message if state == "dead" else ""
                event = {"time": time.time(), "node": node, "address": info.node_manager_address, "state": state}
                print(json.dumps({**event, "why": why}), flush=True)
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
