"""Two loops without Ray that train what the product trains: DeepSpeed's engine alone, and Hugging Face's Trainer on it.

Both are processes of one thread over gloo that find every batch of the run in `batches.npz`, rows already packed. The
bare loop drives our own model and engine and must find the losses of the product, step by step. The Trainer has
`LlamaForCausalLM` of the same shape and as many parameters, `sdpa` attention over whole rows (it does not know where a
document ends, so it is spared our masks) and DeepSpeed at the same stage; it reads its loss each step, as we do.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from models.engine import engine
from ray_jobs.config.schema import Config

SKIP, THREADS, VOCABULARY = 5, 1, 257


class Trained(NamedTuple):
    """One run: end of each step in seconds, its loss, its wait for rows, what its own summary says, CPU-seconds."""

    ended_s: list[float]
    losses: list[float]
    waits_s: list[float]
    summary: dict[str, Any]
    cpu_s: list[float]  # of all training processes since they began, at the end of each step

    def tokens_per_second(self, batch_tokens: int) -> float:
        """Wall time over the steps behind the skipped ones."""
        return (len(self.ended_s) - SKIP) * batch_tokens / (self.ended_s[-1] - self.ended_s[SKIP - 1])

    def tokens_per_cpu_second(self, batch_tokens: int) -> float:
        """The same steps by the CPU time of the training processes, whatever else the machine did."""
        return (len(self.cpu_s) - SKIP) * batch_tokens / (self.cpu_s[-1] - self.cpu_s[SKIP - 1])


def train_beside(loop: Callable[..., None], folder: Path, workers: int, core: int | None) -> Trained:
    """Train with `bare_rank` or `trainer_rank` in processes of their own, all on one core if that is given."""
    torch.multiprocessing.spawn(loop, args=(str(folder), workers, core), nprocs=workers)
    parts = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(workers)]
    (folder / "meeting").unlink(missing_ok=True)
    predictions = np.load(folder / "batches.npz")["predictions"]
    nats = np.sum([part["nats"] for part in parts], axis=0)
    cpu_s = np.sum([part["cpu_s"] for part in parts], axis=0)
    return Trained(parts[0]["ended_s"], (nats / predictions).tolist(), [], {}, cpu_s.tolist())


def bare_rank(rank: int, folder: str, workers: int, core: int | None) -> None:
    """One rank of the bare loop: forward, backward, step on DeepSpeed's engine, and the loss read every step."""
    _prepare(rank, core)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=workers)
    config = Config.model_validate_json(Path(folder, "config.json").read_text())
    stored = np.load(Path(folder, "batches.npz"))
    batches, predictions, rates = (torch.from_numpy(stored[k]) for k in ("batches", "predictions", "rates"))
    made = engine.start(config.model, VOCABULARY, config.engine, config.optim, config.seed)
    deepspeed, micro = made.deepspeed, made.micro_rows
    mine = batches.shape[2] // workers
    told = _Told()
    for batch, total, rate in zip(batches, predictions.tolist(), rates.tolist(), strict=True):
        inputs, labels, segments = batch[:, rank * mine : (rank + 1) * mine]
        for group in deepspeed.optimizer.param_groups:
            group["lr"] = rate
        loss = 0.0
        for first in range(0, mine, micro):
            part = slice(first, first + micro)
            found = deepspeed(inputs[part], segments[part], labels[part])
            deepspeed.backward(found * (workers / total), scale_wrt_gas=False)
            deepspeed.step()
            loss += float(found.detach())
        told.step(loss)
    told.write(folder, rank)
    dist.barrier()
    dist.destroy_process_group()


def trainer_rank(rank: int, folder: str, workers: int, core: int | None) -> None:
    """One rank of Hugging Face's Trainer with DeepSpeed, on the rows of the same batches."""
    _prepare(rank, core)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29417"}
    os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_WORLD_SIZE": str(workers)}
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    config = Config.model_validate_json(Path(folder, "config.json").read_text())
    model = LlamaForCausalLM(LlamaConfig(**_llama(config)))
    rows = torch.from_numpy(np.load(Path(folder, "batches.npz"))["batches"][:, 0]).long()
    steps, batch_rows, length = rows.shape
    told = _Told()

    class Watch(TrainerCallback):
        """Notes the end of each step."""

        def on_step_end(self, *_given: object, **_more: object) -> None:
            """Called by the Trainer behind each optimizer step."""
            told.step(0.0)

    micro = min(config.engine.micro_batch_rows, batch_rows // workers)
    made = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=f"{folder}/trainer",
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=batch_rows // workers // micro,
            max_steps=steps,
            logging_steps=1,
            learning_rate=config.optim.lr,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            ddp_backend="gloo",
            deepspeed={
                "train_micro_batch_size_per_gpu": micro,
                "gradient_accumulation_steps": batch_rows // workers // micro,
                "gradient_clipping": config.optim.clip_norm,
                "zero_optimization": {"stage": config.engine.zero_stage},
                "optimizer": {"type": "AdamW", "params": {"lr": config.optim.lr, "torch_adam": True}},
            },
        ),
        train_dataset=[{"input_ids": row, "labels": row} for row in rows.reshape(-1, length)],
        callbacks=[Watch()],
    )
    made.train()
    if type(made.model_wrapped).__name__ != "DeepSpeedEngine":
        raise RuntimeError(f"the Trainer trained {type(made.model_wrapped).__name__} and not DeepSpeed's engine")
    told.write(folder, rank)


def _llama(config: Config) -> dict[str, Any]:
    """The shape of our decoder in the words of transformers."""
    model = config.model
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": model.width,
        "intermediate_size": model.ffn,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.heads,
        "max_position_embeddings": model.row_tokens,
        "tie_word_embeddings": True,
    }


def _prepare(rank: int, core: int | None) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "OMP_NUM_THREADS": str(THREADS), "DEEPSPEED_LOG_LEVEL": "error"}
    torch.set_num_threads(THREADS)
    if core is not None:
        os.sched_setaffinity(0, {core})


class _Told:
    """What a rank notes at the end of each step."""

    def __init__(self) -> None:
        self.ended_s, self.nats, self.cpu_s = list[float](), list[float](), list[float]()

    def step(self, nats: float) -> None:
        self.ended_s.append(time.time())
        self.nats.append(nats)
        self.cpu_s.append(time.process_time())

    def write(self, folder: str, rank: int) -> None:
        Path(folder, f"rank-{rank}.json").write_text(json.dumps(vars(self)))
