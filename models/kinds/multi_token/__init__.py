"""Multi-token prediction: heads that predict further tokens on the trunk of a decoder."""
