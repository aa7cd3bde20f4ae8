"""ResNet-18, SqueezeNet 1.1 and GoogLeNet as torchvision names their modules, and DeepLabv3+ and U-Net as
segmentation_models_pytorch does: written from the published architectures, without minicam, to make state dicts whose
networks PyTorch can run.
"""

from references import require_torch

torch = require_torch()
nn, functional = torch.nn, torch.nn.functional


def randomise(model, seed=0):
    """Random weights and batch statistics, such that no layer dies or explodes; ready to run. Returns the model."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


class Block(nn.Module):
    def __init__(self, before, after, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Encoder(nn.Module):
    """The five stages of ResNet-18; gives the output of each."""

    def __init__(self, channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        for i in (1, 2, 3, 4):
            first = Block(widths[i - 1], widths[i], 1 if i == 1 else 2)
            self.add_module(f"layer{i}", nn.Sequential(first, Block(widths[i], widths[i])))

    def forward(self, x):
        features = [functional.relu(self.bn1(self.conv1(x)))]
        x = functional.max_pool2d(features[0], 3, 2, 1)
        for i in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{i}")(x)
            features.append(x)
        return features


class ResNet18(Encoder):
    def __init__(self, num_classes=1000):
        super().__init__()
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x):
        return self.fc(super().forward(x)[-1].mean(dim=(2, 3)))


class Fire(nn.Module):
    def __init__(self, before, narrow, wide):
        super().__init__()
        self.squeeze = nn.Conv2d(before, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x):
        x = functional.relu(self.squeeze(x))
        return functional.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    def __init__(self, num_classes=1000):
        super().__init__()

        def pool():
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool()),
            *(Fire(64, 16, 64), Fire(128, 16, 64), pool()),
            *(Fire(128, 32, 128), Fire(256, 32, 128), pool()),
            *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, num_classes, 1), nn.ReLU())

    def forward(self, x):
        return self.classifier(self.features(x)).mean(dim=(2, 3))


class BasicConv(nn.Module):
    def __init__(self, before, after, size, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x):
        return functional.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, before, narrow, reduced, middle, squeezed, wide, projected):
        super().__init__()
        self.branch1 = BasicConv(before, narrow, 1)
        self.branch2 = nn.Sequential(BasicConv(before, reduced, 1), BasicConv(reduced, middle, 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv(before, squeezed, 1), BasicConv(squeezed, wide, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), BasicConv(before, projected, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    def __init__(self, before, classes):
        super().__init__()
        self.conv = BasicConv(before, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, classes)


class GoogLeNet(nn.Module):
    """Without transform_input: takes what that would make of the pixels."""

    def __init__(self, num_classes=1000, aux_logits=True):
        super().__init__()
        self.conv1 = BasicConv(3, 64, 7, 2, 3)
        self.conv2 = BasicConv(64, 64, 1)
        self.conv3 = BasicConv(64, 192, 3, padding=1)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        if aux_logits:
            self.aux1 = Auxiliary(512, num_classes)
            self.aux2 = Auxiliary(528, num_classes)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, x):
        x = functional.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.inception3b(self.inception3a(x)), 3, 2, ceil_mode=True)
        for name in ("4a", "4b", "4c", "4d", "4e"):
            x = self.get_submodule(f"inception{name}")(x)
        x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
        return self.fc(self.inception5b(self.inception5a(x)).mean(dim=(2, 3)))


def separable(before, after, rate=1):
    depthwise = nn.Conv2d(before, before, 3, padding=rate, dilation=rate, groups=before, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(before, after, 1, bias=False))


class Pyramid(nn.Module):
    def __init__(self, after, is_separable):
        super().__init__()

        def activated(*layers):
            return nn.Sequential(*layers, nn.BatchNorm2d(after), nn.ReLU())

        def dilated(rate):
            return separable(512, after, rate) if is_separable else nn.Conv2d(512, after, 3, 1, rate, rate, bias=False)

        branches = [activated(nn.Conv2d(512, after, 1, bias=False)), *(activated(dilated(r)) for r in (12, 24, 36))]
        branches.append(activated(nn.AdaptiveAvgPool2d(1), nn.Conv2d(512, after, 1, bias=False)))
        self.convs = nn.ModuleList(branches)
        self.project = activated(nn.Conv2d(5 * after, after, 1, bias=False))

    def forward(self, x):
        found = [branch(x) for branch in self.convs]
        found[-1] = functional.interpolate(found[-1], x.shape[2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat(found, 1))


class DeepLabV3Plus(nn.Module):
    def __init__(self, classes=1, in_channels=3, decoder_channels=256, decoder_aspp_separable=True):
        super().__init__()
        self.encoder = Encoder(in_channels)
        for module in self.encoder.layer4.modules():
            if isinstance(module, nn.Conv2d):
                module.stride, module.dilation = (1, 1), (2, 2)
                module.padding = (2, 2) if module.kernel_size == (3, 3) else (0, 0)
        width = decoder_channels
        self.decoder = nn.Module()
        activation = (nn.BatchNorm2d(width), nn.ReLU())
        self.decoder.aspp = nn.Sequential(Pyramid(width, decoder_aspp_separable), separable(width, width), *activation)
        self.decoder.block1 = nn.Sequential(nn.Conv2d(64, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        self.decoder.block2 = nn.Sequential(separable(width + 48, width), nn.BatchNorm2d(width), nn.ReLU())
        self.segmentation_head = nn.Sequential(nn.Conv2d(width, classes, 1))

    def forward(self, x):
        features = self.encoder(x)
        x = enlarged(self.decoder.aspp(features[-1]))
        x = self.decoder.block2(torch.cat([x, self.decoder.block1(features[1])], 1))
        return enlarged(self.segmentation_head(x))


def enlarged(x):
    return functional.interpolate(x, scale_factor=4, mode="bilinear", align_corners=True)


class Unet(nn.Module):
    def __init__(self, classes=1, in_channels=3, decoder_channels=(256, 128, 64, 32, 16)):
        super().__init__()
        self.encoder = Encoder(in_channels)
        self.decoder = nn.Module()
        self.decoder.blocks = nn.ModuleList()
        before = 512
        for after, skip in zip(decoder_channels, (256, 128, 64, 64, 0), strict=True):
            block = nn.Module()
            for name, channels in (("conv1", before + skip), ("conv2", after)):
                conv = nn.Conv2d(channels, after, 3, padding=1, bias=False)
                block.add_module(name, nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU()))
            self.decoder.blocks.append(block)
            before = after
        self.segmentation_head = nn.Sequential(nn.Conv2d(before, classes, 3, padding=1))

    def forward(self, x):
        features = self.encoder(x)
        x = features.pop()
        for block in self.decoder.blocks:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = torch.cat([x, features.pop()], 1) if features else x
            x = block.conv2(block.conv1(x))
        return self.segmentation_head(x)
