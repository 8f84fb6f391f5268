"""The three models in PyTorch, written from the papers' formulas and this repository's definitions; imported by train_step.py.

Written the way a PyTorch user would write them (modules, convolutions, built-in transformer layers), with the tensor names of our weight
files. Windows are (N, 2, T, 18). Nothing is folded; `collapsed adjacency` tricks and the like are not used, since they are no reference.
"""

import math

import torch
from torch import nn
from torch.nn import functional

JOINTS, CHANNELS = 18, 2
EDGES = [(4, 3), (3, 2), (7, 6), (6, 5), (13, 12), (12, 11), (10, 9), (9, 8), (11, 5), (8, 2), (5, 1), (2, 1), (0, 1), (15, 0), (14, 0)]
EDGES += [(17, 15), (16, 14)]
NECK = 1


class StGcn(nn.Module):
    """One spatio-temporal block: 1x1 convolution, graph product, BN, ReLU, convolution over time, BN, residual, ReLU."""

    def __init__(self, taps, has_residual):
        super().__init__()
        self.gcn = nn.Module()
        self.gcn.conv = nn.Conv2d(1, 2, 1)
        self.tcn = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, (taps, 1), padding=(taps // 2, 0)), nn.BatchNorm2d(2))
        self.residual = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)) if has_residual else None

    def forward(self, x, adjacency):
        mixed = torch.einsum("nctv,vw->nctw", self.gcn.conv(x), adjacency).contiguous()
        out = self.tcn(mixed)
        if self.residual is not None:
            out = out + self.residual(x)
        return torch.relu(out)


class FlowStep(nn.Module):
    """ActNorm, exchange of the channels, affine coupling."""

    def __init__(self, taps, has_residual):
        super().__init__()
        self.actnorm = nn.Module()
        self.actnorm.bias = nn.Parameter(torch.zeros(1, 2, 1, 1))
        self.actnorm.logs = nn.Parameter(torch.zeros(1, 2, 1, 1))
        self.block = nn.ModuleList([StGcn(taps, has_residual)])

    def forward(self, z, log_determinant, adjacency):
        z = (z + self.actnorm.bias) * torch.exp(self.actnorm.logs)
        log_determinant = log_determinant + self.actnorm.logs.sum() * (z.shape[2] * z.shape[3])
        z1, z2 = z.flip(1).chunk(2, dim=1)
        shift, raw = self.block[0](z1, adjacency).chunk(2, dim=1)
        scale = torch.sigmoid(raw + 2.0) + 1e-6
        z2 = (z2 + shift) * scale
        return torch.cat([z1, z2], dim=1), log_determinant + torch.log(scale).flatten(1).sum(1)


class StgNf(nn.Module):
    """STG-NF; its score is the negative log-likelihood in bits per dimension."""

    frames = 24
    gradient_norm_max = 100.0

    def __init__(self, metadata):
        super().__init__()
        self.prior_mean = float(metadata["R"])
        self.flow = nn.Module()
        self.flow.layers = nn.ModuleList([FlowStep(self.frames // 2 + 1, number > 0) for number in range(8)])
        self.register_buffer("adjacency", torch.full((JOINTS, JOINTS), 1.0 / JOINTS), persistent=False)

    def score(self, x):
        z, log_determinant = x, torch.zeros(x.shape[0])
        for step in self.flow.layers:
            z, log_determinant = step(z, log_determinant, self.adjacency)
        log_prior = (-0.5 * ((z - self.prior_mean) ** 2 / (1.0 + 1e-6) + math.log(2.0 * math.pi))).flatten(1).sum(1)
        return -(log_determinant + log_prior) / (math.log(2.0) * x[0].numel())

    def loss(self, x):
        return self.score(x).mean()

    def optimiser(self, rate):
        return torch.optim.Adamax(self.parameters(), lr=rate)


class SpartaEncoderLayer(nn.Module):
    """Self attention and feed-forward network, a normalisation before each."""

    def __init__(self):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(72, 12, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(72, 64), nn.Linear(64, 72)
        self.norm1, self.norm2 = nn.LayerNorm(72), nn.LayerNorm(72)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.self_attn(y, y, y, need_weights=False)[0]
        return x + self.linear2(torch.relu(self.linear1(self.norm2(x))))


class SpartaDecoderLayer(nn.Module):
    """The same with attention to the encoder's output in between: keys of its normalised values, values of it as it is."""

    def __init__(self):
        super().__init__()
        self.self_attn, self.multihead_attn = (nn.MultiheadAttention(72, 12, batch_first=True) for _ in range(2))
        self.linear1, self.linear2 = nn.Linear(72, 64), nn.Linear(64, 72)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(72) for _ in range(3))

    def forward(self, x, keys, memory):
        y = self.norm1(x)
        x = x + self.self_attn(y, y, y, need_weights=False)[0]
        x = x + self.multihead_attn(self.norm2(x), keys, memory, need_weights=False)[0]
        return x + self.linear2(torch.relu(self.linear1(self.norm3(x))))


class Sparta(nn.Module):
    """SPARTA's prediction branch with attention over the tokens of a window, predicting its second half from its first; its score is the mean
    absolute error there. As many layers as the weights have that are not silent."""

    frames, seen = 24, 12
    gradient_norm_max = 5.0

    def __init__(self, metadata, depth=4):
        super().__init__()
        assert metadata["form"] == "tokens-2", "attention over tokens is compared"
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.layers = nn.ModuleList([SpartaEncoderLayer() for _ in range(depth)])
        self.decoder.layers = nn.ModuleList([SpartaDecoderLayer() for _ in range(depth)])
        angles = torch.arange(24.0)[:, None] * torch.exp(torch.arange(0, 72, 2) * (-math.log(10000.0) / 72))
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1), persistent=False)

    def score(self, x):
        tokens = torch.cat([x, x - x[:, :, :1]], dim=3).transpose(1, 2).reshape(-1, 24, 72)
        memory = functional.pad(tokens[:, : self.seen], (0, 0, 0, 24 - self.seen)) + self.positions
        for layer in self.encoder.layers:
            memory = layer(memory)
        keys = functional.layer_norm(memory, (72,))
        stream = self.positions.expand(len(x), 24, 72)
        for layer in self.decoder.layers:
            stream = layer(stream, keys, memory)
        return (tokens + self.positions - stream)[:, self.seen :].abs().flatten(1).mean(1)

    def loss(self, x):
        return self.score(x).mean()

    def optimiser(self, rate):
        return torch.optim.Adam(self.parameters(), lr=rate)


def fixed_family():
    """Three matrices [from][to]: a joint itself, its neighbours away from the neck, its neighbour towards the neck."""
    depths = {NECK: 0}
    while len(depths) < JOINTS:
        for one, other in EDGES + [(other, one) for one, other in EDGES]:
            if one in depths:
                depths.setdefault(other, depths[one] + 1)
    family = torch.zeros(3, JOINTS, JOINTS)
    for to in range(JOINTS):
        neighbours = [other if one == to else one for one, other in EDGES if to in (one, other)]
        for joint in [to, *neighbours]:
            subset = 0 if joint == to else 1 if depths[joint] > depths[to] else 2
            family[subset, joint, to] = 1.0 / (1 + len(neighbours))
    return family


class GraphAttention(nn.Module):
    """Three families of three adjacency matrices: fixed, learnt, computed from the window."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.embedding = outputs // 4
        self.expand = nn.Conv2d(inputs, 9 * outputs, 1, bias=False)
        self.learnt = nn.Parameter(torch.full((3, JOINTS, JOINTS), 1e-6))
        self.query, self.key = (nn.Conv2d(inputs, 3 * self.embedding, 1) for _ in range(2))
        self.family_norm = nn.BatchNorm2d(3 * outputs)
        self.reduce = nn.Conv2d(3 * outputs, outputs, 1, bias=False)
        self.residual, self.residual_norm = None, None
        if inputs != outputs:
            self.residual, self.residual_norm = nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs)
        self.register_buffer("fixed", fixed_family(), persistent=False)

    def forward(self, x):
        count, _, frames, _ = x.shape
        expanded = self.expand(x).view(count, 3, 3, -1, frames, JOINTS)
        query, key = (part(x).view(count, 3, self.embedding * frames, JOINTS) for part in (self.query, self.key))
        computed = torch.softmax(query.transpose(2, 3) @ key, dim=2)
        families = [
            torch.einsum("nkctv,kvw->nctw", expanded[:, 0], self.fixed),
            torch.einsum("nkctv,kvw->nctw", expanded[:, 1], self.learnt),
            torch.einsum("nkctv,nkvw->nctw", expanded[:, 2], computed),
        ]
        reduced = self.reduce(torch.relu(self.family_norm(torch.cat(families, dim=1))))
        return reduced + (x if self.residual is None else self.residual_norm(self.residual(x)))


class GaVaeBlock(nn.Module):
    """Graph attention, BN, ReLU, convolution over nine frames, BN, residual, ReLU."""

    def __init__(self, inputs, outputs, stride=1, stretch=1, has_residual=True, ends_in_relu=True):
        super().__init__()
        self.stretch, self.has_residual, self.ends_in_relu = stretch, has_residual, ends_in_relu
        self.gcn = GraphAttention(inputs, outputs)
        self.norm = nn.BatchNorm2d(outputs)
        self.tcn = nn.Conv2d(outputs, outputs, (9, 1), stride=(stride, 1), padding=(4, 0))
        self.tcn_norm = nn.BatchNorm2d(outputs)
        self.residual, self.residual_norm = None, None
        if has_residual and (inputs != outputs or stride != 1):
            self.residual, self.residual_norm = nn.Conv2d(inputs, outputs, 1, stride=(stride, 1)), nn.BatchNorm2d(outputs)

    def forward(self, x):
        if self.stretch > 1:
            x = functional.interpolate(x, scale_factor=(self.stretch, 1), mode="bilinear", align_corners=False)
        out = self.tcn_norm(self.tcn(torch.relu(self.norm(self.gcn(x)))))
        if self.has_residual:
            out = out + (x if self.residual is None else self.residual_norm(self.residual(x)))
        return torch.relu(out) if self.ends_in_relu else out


class GaVae(nn.Module):
    """TSGAD-style graph-attentive VAE; its score is the distance of the encoder's output from the reference mean."""

    frames = 24
    gradient_norm_max = 5.0
    # Weight of the divergence: our trainer's default.
    beta = 1.0

    def __init__(self, metadata):
        super().__init__()
        width = int(metadata["width"])
        self.latent_channels = 4 * width
        self.data_norm = nn.BatchNorm1d(JOINTS * CHANNELS)
        channels = [CHANNELS] + [2 * width * times for times in (4, 4, 4, 6, 6, 6, 8, 8, 4)]
        strides = (1, 1, 2, 1, 1, 3, 1, 1, 1)
        self.encoder = nn.Sequential(
            *(GaVaeBlock(channels[n], channels[n + 1], strides[n], 1, n > 0, n < 8) for n in range(9))
        )
        channels = [4 * width] + [width * times for times in (8, 8, 6, 6, 6)]
        stretches = (3, 1, 1, 2, 1)
        self.decoder = nn.Sequential(*(GaVaeBlock(channels[n], channels[n + 1], 1, stretches[n]) for n in range(5)))
        self.output = nn.Module()
        self.output.gcn = nn.Conv2d(6 * width, 3 * CHANNELS, 1)
        self.output.norm = nn.BatchNorm2d(CHANNELS)
        self.output.tcn = nn.Conv2d(CHANNELS, CHANNELS, (9, 1), padding=(4, 0))
        self.score_place = nn.Module()
        self.score_place.register_buffer("reference_mean", torch.zeros(2 * self.latent_channels, 4, JOINTS))
        self.register_buffer("fixed", fixed_family(), persistent=False)
        # What the first step samples with, (channel, frame, window, joint), where it must be ours; fresh noise otherwise.
        self.first_noise = None

    def encode(self, x):
        count, _, frames, _ = x.shape
        features = self.data_norm(x.permute(0, 3, 1, 2).reshape(count, JOINTS * CHANNELS, frames))
        return self.encoder(features.view(count, JOINTS, CHANNELS, frames).permute(0, 2, 3, 1).contiguous())

    def decode(self, latent):
        expanded = self.output.gcn(self.decoder(latent))
        count, _, frames, _ = expanded.shape
        sums = torch.einsum("nkctv,kvw->nctw", expanded.view(count, 3, CHANNELS, frames, JOINTS), self.fixed)
        return self.output.tcn(torch.relu(self.output.norm(sums)))

    def score(self, x):
        return (self.encode(x) - self.score_place.reference_mean).flatten(1).norm(dim=1)

    def loss(self, x):
        mean, log_deviation = self.encode(x).chunk(2, dim=1)
        log_deviation = log_deviation.clamp(max=4.0)
        noise, self.first_noise = self.first_noise, None
        noise = torch.randn_like(mean) if noise is None else noise.view(-1, 4, x.shape[0], JOINTS).permute(2, 0, 1, 3)
        error = x - self.decode(mean + log_deviation.exp() * noise)
        divergence = 0.5 * (mean**2 + (2.0 * log_deviation).exp() - 2.0 * log_deviation - 1.0)
        return (0.5 * (error**2).flatten(1).sum(1) + self.beta * divergence.flatten(1).sum(1)).mean() / x[0].numel()

    def optimiser(self, rate):
        return torch.optim.Adam(self.parameters(), lr=rate)


MODELS = {"stg-nf": StgNf, "sparta": Sparta, "gavae": GaVae}


def of_tensors(architecture, tensors, metadata):
    """The model with a weight file's tensors; all of them are used, and all of the model's are set."""
    options = {}
    if architecture == "sparta":
        # Layers that are silent, at the end, are neither computed nor trained.
        options["depth"] = sum(bool(tensors[f"decoder.layers.{layer}.linear2.weight"].any()) for layer in range(4))
        tensors = {name: value for name, value in tensors.items() if int(name.split(".")[2]) < options["depth"]}
    model = MODELS[architecture](metadata, **options)
    own = {name.replace("score_place.", "score."): value for name, value in model.state_dict().items()}
    own = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    if set(own) != set(tensors):
        raise SystemExit(f"{architecture}: other tensors in the weight file: {sorted(set(own) ^ set(tensors))[:6]}")
    for name, value in own.items():
        value.copy_(tensors[name].reshape(value.shape))
    return model


def to_tensors(model):
    """A GA-VAE's tensors as our weight files have them: kernels without trailing dimensions of 1."""
    own = {}
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            while value.dim() > 2 and value.shape[-1] == 1:
                value = value.squeeze(-1)
            own[name.replace("score_place.", "score.")] = value.contiguous()
    return own
