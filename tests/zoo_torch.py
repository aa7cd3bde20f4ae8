"""The networks of `minicam.zoo` in PyTorch: the architectures of `zoo_jax` with other arithmetic.

PyTorch is optional: tests that need it call `require_torch` first.
"""

import zoo_jax


def forward(torch, network, parameters, x):
    """x (N, C, *space), raw scale -> layer name -> tensor. `torch.autograd.grad` of any layer with respect to any
    earlier one works if x requires a gradient; of parameters, if they are tensors that do."""
    return zoo_jax.run(Layers(torch, parameters), network, x)


class Layers(zoo_jax.Layers):
    def __init__(self, torch, parameters):
        super().__init__(parameters, tap={})
        self.torch = torch
        self.functional = torch.nn.functional

    def conv(self, name, source, stride=1, padding=0, dilation=1):
        x = self.layers[source]
        rank = x.ndim - 2
        pair = padding if isinstance(padding, tuple) else (padding, padding)
        convolve = getattr(self.functional, f"conv{rank}d")
        p = self.parameters[name]
        self.layers[name] = convolve(self._padded(x, pair, 0), p["weight"], p["bias"], stride, 0, dilation)

    def norm(self, name, source):
        p = self.parameters[name]
        self.layers[name] = self.functional.batch_norm(
            self.layers[source], p["mean"], p["variance"], p["scale"], p["offset"], eps=1e-5
        )

    def layer_norm(self, name, source):
        p = self.parameters[name]
        x = self.layers[source].movedim(1, -1)
        y = self.functional.layer_norm(x, x.shape[-1:], p["scale"], p["offset"], eps=1e-5)
        self.layers[name] = y.movedim(-1, 1)

    def response_norm(self, name, source):
        self.layers[name] = self.functional.local_response_norm(self.layers[source], 5, alpha=1e-4, beta=0.75, k=1.0)

    def relu(self, name, source):
        self.layers[name] = self.torch.relu(self.layers[source])

    def max_pool(self, name, source, size, stride=2, padding=(0, 0)):
        x = self._padded(self.layers[source], padding, float("-inf"))
        self.layers[name] = getattr(self.functional, f"max_pool{x.ndim - 2}d")(x, size, stride)

    def halving_average(self, name, source):
        self.layers[name] = self.functional.avg_pool2d(self.layers[source], 2, 2)

    def global_average(self, name, source):
        x = self.layers[source]
        self.layers[name] = getattr(self.functional, f"adaptive_avg_pool{x.ndim - 2}d")(x, 1)

    def dense(self, name, source):
        p = self.parameters[name]
        self.layers[name] = self.functional.linear(self.layers[source].flatten(1), p["weight"], p["bias"])

    def double(self, name, source):
        p = self.parameters[name]
        self.layers[name] = self.functional.conv_transpose2d(self.layers[source], p["weight"], p["bias"], stride=2)

    def concat(self, name, *sources):
        self.layers[name] = self.torch.cat([self.layers[source] for source in sources], dim=1)

    def softmax(self, name, source):
        self.layers[name] = self.torch.softmax(self.layers[source], dim=1)

    def _padded(self, x, pair, value):
        return self.functional.pad(x, pair * (x.ndim - 2), value=value)
