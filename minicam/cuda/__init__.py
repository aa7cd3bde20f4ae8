"""What makes minicam fast on a GPU, and nothing that makes it right: the results of the plain definitions, up to the
precision asked for, by our own CUDA kernels. It needs the folder `fast`, which says how a graph becomes fewer steps.

In reading order: buffers (what a plan is made of), the kernels with the launches of each (layout, convolution, pooling,
upsampling, softmax, sums, maps), weights, forward, contributions and backward (from a graph to launches), job (from an
image to maps), arena and bound (memory and running), engine (`CudaGraph`).
"""
