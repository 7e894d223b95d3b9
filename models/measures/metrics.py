"""How much of the machine does training use, and how good is the model?

Model FLOPs utilisation is the share of the device's peak that goes into the FLOPs which the model's kind counts
(`Kind.flops_per_token`). Quality is bits per byte of text, which compares models of different tokenizers.
"""

import math

# Dense bf16 FLOP/s of NVIDIA's data sheets (fp16 for V100), by a part of the device name, first match.
PEAK_FLOPS = {
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
}


def peak_flops(device_name: str) -> float | None:
    """Return a device's dense bf16 FLOP/s, or None where the table does not know it (every CPU).

    >>> peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("cpu")
    (989000000000000.0, None)
    """
    return next((flops for name, flops in PEAK_FLOPS.items() if name.lower() in device_name.lower()), None)


def mfu(tokens_per_second: float, flops_of_token: float, devices: int, peak: float | None) -> float | None:
    """Return the share of the devices' peak spent on the model's own FLOPs; None without a known peak."""
    return tokens_per_second * flops_of_token / (devices * peak) if peak else None


def bits_per_byte(nats: float, num_bytes: int) -> float:
    """Turn nats over a text into bits per byte of it; nan where the text is empty.

    >>> bits_per_byte(math.log(2) * 16, 8)
    2.0
    """
    return nats / math.log(2) / num_bytes if num_bytes else math.nan
