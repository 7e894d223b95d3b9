"""Driver: one run from its checks to its report."""
