"""What is done to a convolution's result while it is still in cache."""

from dataclasses import dataclass

import numpy as np

from minicam.fast.threads import Workers


@dataclass(frozen=True)
class Epilogue:
    """y = max(x + bias + sum of residuals, 0), the maximum only if `rectify`.

    bias: (K,) or None. residuals: like the output, (N or 1, H, W, K); one may be the output itself.
    """

    bias: np.ndarray | None = None
    residuals: tuple[np.ndarray, ...] = ()
    rectify: bool = False

    def finish(self, x: np.ndarray, out: np.ndarray, sample: int, target: tuple[slice, slice]) -> None:
        """Write x (rows, columns, K) to the target rows and columns of out; what of x lies beyond the edge of out is
        left away. Overwrites x."""
        y = out[sample, *target]
        x = x[: y.shape[0], : y.shape[1]]
        if self.bias is not None:
            np.add(x, self.bias, out=x)
        for residual in self.residuals:
            np.add(x, residual[sample % len(residual), *target], out=x)
        if self.rectify:
            np.maximum(x, 0, out=y)
        else:
            np.copyto(y, x)

    def finish_all(self, out: np.ndarray, workers: Workers) -> None:
        """The same where out already holds the convolution's result and nothing is added to it but the bias and the
        other residuals."""

        def work(block: tuple[int, int]) -> None:
            sample, row = block
            y = out[sample, row]
            if self.bias is not None:
                np.add(y, self.bias, out=y)
            for residual in self.residuals:
                if residual is not out:
                    np.add(y, residual[sample % len(residual), row], out=y)
            if self.rectify:
                np.maximum(y, 0, out=y)

        workers.run(work, [(sample, row) for sample in range(len(out)) for row in range(out.shape[1])])
