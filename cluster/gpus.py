"""What does each GPU hold, reach at best and cost?

Peaks are dense bf16 from the vendor's data sheets, memory is what a process can use; prices are typical, not offers,
dated below, and settings wherever they are used.
"""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator

PRICES_AS_OF = "2026-11"


class Gpu(NamedTuple):
    """Usable memory in decimal GB, dense bf16 peak in TFLOP/s, typical rent and purchase price in USD."""

    memory_gb: float
    peak_tflops: float
    price_per_hour: float
    purchase_price: float


GPUS = {
    "A100-40": Gpu(42.3, 312, 1.30, 9_000),
    "A100-80": Gpu(85.0, 312, 1.80, 15_000),
    "H100": Gpu(84.9, 989, 3.00, 28_000),
    "H200": Gpu(150.0, 989, 3.60, 32_000),
    "B200": Gpu(191.0, 2250, 5.50, 42_000),
}


def parse_gpu(value: Any) -> Any:
    """Read a GPU name leniently.

    >>> parse_gpu("a100"), parse_gpu("A100-80GB"), parse_gpu("h200")
    ('A100-80', 'A100-80', 'H200')
    """
    name = str(value).strip().upper().removesuffix("GB")
    return "A100-80" if name == "A100" else name


GpuName = Annotated[Literal["A100-40", "A100-80", "H100", "H200", "B200"], BeforeValidator(parse_gpu)]
