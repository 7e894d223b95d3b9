"""What does each GPU hold, reach at best and cost?

Peaks are dense bf16 from the vendor's data sheets, memory is what a process can use. Prices are typical, not offers:
list prices without commitment and street prices of the first half of 2026, looked up on the date below, each with where
it was seen (docs/plan.md); they are settings wherever they are used.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator

PRICES_AS_OF = "2026-11-21"


class Gpu(NamedTuple):
    """Memory in decimal GB, dense bf16 peak in TFLOP/s, prices in USD, and how many published runs stand behind."""

    memory_gb: float
    peak_tflops: float
    rent: float  # an hour
    purchase: float
    running: float  # an hour, once it is bought
    source: str  # of the rent
    published_runs: int  # of docs/plan.md, on this kind


GPUS = {
    "A100-40": Gpu(42.3, 312, 1.48, 9_000, 0.30, "techbytes.app, May 2026: Lambda", 7),
    "A100-80": Gpu(85.0, 312, 1.99, 11_500, 0.30, "pricegpu.pages.dev, early 2026: middle of 1.49-2.49", 11),
    "H100": Gpu(84.9, 989, 3.24, 30_000, 0.46, "pricegpu.pages.dev, early 2026: middle of 2.49-3.99", 4),
    "H200": Gpu(150.0, 989, 3.59, 35_000, 0.46, "deploybase.ai: RunPod", 0),
    "B200": Gpu(191.0, 2250, 5.25, 40_000, 0.65, "lyceum.technology, March 2026: middle of 4.50-6.00", 0),
}


def parse_gpu(value: object) -> str:
    """Read a GPU name leniently; ValueError names those that are known.

    >>> parse_gpu("a100"), parse_gpu("A100-80GB"), parse_gpu("h200"), parse_gpu("NVIDIA H100 80GB HBM3")
    ('A100-80', 'A100-80', 'H200', 'H100')
    """
    name = str(value).strip().upper().replace("_", "-").replace(" ", "-").removeprefix("NVIDIA-")
    if name.startswith("A100"):
        return "A100-40" if "40" in name else "A100-80"
    if (kind := name.partition("-")[0]) in GPUS:
        return kind
    raise ValueError(f"{value!r} is unknown; use {', '.join(GPUS)}")


GpuName = Annotated[Literal["A100-40", "A100-80", "H100", "H200", "B200"], BeforeValidator(parse_gpu)]
