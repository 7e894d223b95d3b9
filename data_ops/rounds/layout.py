"""Which rows does a rank see at a step? A pure function of the manifest."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from cluster.rows import Rows
from data_ops.kernels.arrays import Ints, Words
from data_ops.rounds.manifest import Manifest
from data_ops.rounds.masking import Masking, count_masked, mask_keys, mask_rows
from data_ops.rounds.packing import Packing, as_text, fill, num_labels, pack, row_order

BRANCH_EPOCHS = 1 << 40  # masks of a decay branch are none of those of the main line's rounds


class Layout:
    """Where every position of a round lies: rows in their order, steps, and when each document is done.

    blank, bool[n]: forgotten documents of the manifest. They keep their positions, so that all others stay where they
    are, but are trained by nobody: their inputs are the document token, their labels -100.
    masking: how tokens are hidden, anew in each round; None: each position predicts the next token.
    """

    def __init__(
        self, manifest: Manifest, blank: npt.NDArray[np.bool_] | None = None, masking: Masking | None = None
    ) -> None:
        self.manifest, self.masking = manifest, masking
        self.blank = np.zeros(len(manifest.documents), np.bool_) if blank is None else blank
        self.packing = pack(manifest.documents.lengths, manifest.row_tokens)
        self.order = row_order(self.packing.num_rows, manifest.seed, manifest.round)

    @cached_property
    def last_steps(self) -> Ints:
        """For each document the step (0..steps-1) with which its last position is trained."""
        last = np.zeros(len(self.manifest.documents), np.int64)
        np.maximum.at(last, self.packing.document, self._step_of_row[self.packing.row])
        return last

    def steps_of(self, document: int) -> Ints:
        """The steps (0..steps-1) at which a document of the manifest has positions, in order."""
        return np.unique(self._step_of_row[self.packing.row[self.packing.document == document]])

    @cached_property
    def _step_of_row(self) -> Ints:
        step_of_row = np.empty(self.packing.num_rows, np.int64)
        step_of_row[self.order] = np.arange(self.packing.num_rows) // self.manifest.batch_rows
        return step_of_row

    def rows_of(self, step: int, first: int = 0, count: int | None = None) -> Ints:
        """Row numbers of a step's global batch, or `count` of them from `first` on; fewer in a last, short step."""
        size = self.manifest.batch_rows
        count = size if count is None else count
        begin = step * size + first
        return self.order[begin : min(begin + count, (step + 1) * size)]

    def positions(self, step: int) -> int:
        """Positions in the global batch of a step that hold a document, without those of forgotten ones."""
        pieces = self._segments(self.rows_of(step))
        return int(pieces.length[~self.blank[pieces.document]].sum())

    def predictions(self, step: int, tokens: npt.NDArray[np.int32], offsets: Ints) -> int:
        """Labels in the global batch of a step: one a position, but for forgotten documents and what is not learnt.

        Where tokens are hidden, as many as are chosen of them.
        """
        pieces = self._segments(self.rows_of(step))
        if self.masking is None:
            return num_labels(pieces, tokens, offsets, self.blank)
        text = as_text(tokens, offsets, self.blank)
        return int(count_masked(pieces, text, self._mask_keys, self.masking).sum())

    def fill(self, rows: Ints, count: int, tokens: npt.NDArray[np.int32], offsets: Ints, document_token: int) -> Rows:
        """Build `count` rows: the named ones and, behind them, empty ones.

        tokens and offsets: the round's documents in manifest order, in Arrow's list layout; forgotten ones empty.
        """
        packing = self._segments(rows)._replace(num_rows=count)
        filled = fill(packing, tokens, offsets, document_token, self.manifest.row_tokens, self.blank)
        if self.masking is None:
            return filled
        return mask_rows(filled, packing, as_text(tokens, offsets, self.blank), self._mask_keys, self.masking)

    @cached_property
    def _mask_keys(self) -> Words:
        """What decides the masks of each document in this round; a branch counts by the window that it leaves at."""
        manifest = self.manifest
        assert self.masking is not None
        epoch = BRANCH_EPOCHS + manifest.start.window if manifest.closed == "branch" else manifest.round
        return mask_keys(self.masking, manifest.documents.ids, epoch)

    def _segments(self, rows: Ints) -> Packing:
        """The part of the packing that lies in these rows, renumbered 0, 1, ... in their order."""
        low = np.searchsorted(self.packing.row, rows, side="left")
        counts = np.searchsorted(self.packing.row, rows, side="right") - low
        # positions low[i] .. low[i]+counts[i] of every row i: e.g. low=[5,2], counts=[2,1] -> [5,6,2]
        ends = np.cumsum(counts)
        pick = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts - low, counts)
        return Packing(
            row=np.repeat(np.arange(len(rows)), counts),
            start=self.packing.start[pick],
            document=self.packing.document[pick],
            document_start=self.packing.document_start[pick],
            length=self.packing.length[pick],
            num_rows=len(rows),
        )
