"""What tools/bench_gpu.py measures on one GPU, and how.

A section (`ceilings`, `correctness`, `job`, `layers`) is a generator of rows (`rows`), so that the time budget can end
it between two of them, and what fails is said in its row while the others go on. The contestants are in `with_minicam`,
`with_torch`, `with_compiler` and `with_grad_cam`; what is decided in a library's favour is said there.

Nothing here asks whether this is a rehearsal but `machine`, which then holds stand-ins for what needs a GPU.
"""
