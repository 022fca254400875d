"""The pre-training step of `vicmae bench` in plain PyTorch, for peer.sh: same sizes, same batch, same losses, same optimizer.

    python3 peer_step.py SIZE PRECISION MODE --threads N --steps N --pairs N      MODE: eager, compiled

Prints one line of JSON: step times in ms without the warm-up, the last loss, the version. What a step is: masks drawn, 2B
random images in memory through encoder (visible tokens), decoder (all tokens), projector (BatchNorm of each view apart),
masked MSE on normalised patches + lambda InfoNCE, backward, AdamW (matrices decay, vectors do not)."""
import argparse
import json
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as missing:
    raise SystemExit(f"peer_step.py: PyTorch is absent ({missing}); give a Python that has it: make -f Makefile.bench peer PYTHON=...")

MASK_RATIO, LAMBDA, TEMPERATURE, PROJECTOR_OUT, WARM_UP = 0.75, 0.025, 0.1, 128, 3
SIZES = {  # as in experiments/options_read.c: image, patch, encoder (dim, depth, heads), decoder (same), projector hidden
    "nano": (32, 4, (192, 6, 3), (96, 2, 3), 512),
    "tiny": (64, 8, (192, 12, 3), (128, 4, 4), 1024),
    "small": (64, 8, (384, 12, 6), (256, 4, 8), 1024),
    "base": (224, 16, (768, 12, 12), (512, 8, 16), 4096),
    "large": (224, 16, (1024, 24, 16), (512, 8, 16), 4096),
    "huge": (224, 14, (1280, 32, 16), (512, 8, 16), 4096),
}


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, dim)
        x = x + self.proj(attended)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def rows(tokens, index):
    """tokens[b, index[b, i]] for every b, i."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


class ViCMAE(nn.Module):
    def __init__(self, image, patch, encoder, decoder, hidden):
        super().__init__()
        self.patch, self.side = patch, image // patch
        self.patches = self.side**2
        self.keep = int(self.patches * (1 - MASK_RATIO))
        dim, pixels = encoder[0], 3 * patch * patch
        self.patch_embed = nn.Linear(pixels, dim)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim).normal_(std=0.02))
        self.register_buffer("pos_embed", torch.empty(1, 1 + self.patches, dim).normal_(std=0.02))
        self.blocks = nn.Sequential(*(Block(dim, encoder[2]) for _ in range(encoder[1])))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.decoder_embed = nn.Linear(dim, decoder[0])
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder[0]).normal_(std=0.02))
        self.register_buffer("decoder_pos_embed", torch.empty(1, 1 + self.patches, decoder[0]).normal_(std=0.02))
        self.decoder_blocks = nn.Sequential(*(Block(decoder[0], decoder[2]) for _ in range(decoder[1])))
        self.decoder_norm = nn.LayerNorm(decoder[0], eps=1e-6)
        self.decoder_pred = nn.Linear(decoder[0], pixels)
        self.projector = nn.Sequential(
            nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, PROJECTOR_OUT),
        )

    def patchify(self, images):
        grid = images.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)  # [2B, 3, side, side, p, p]
        return grid.permute(0, 2, 3, 4, 5, 1).reshape(images.shape[0], self.patches, -1)

    def forward(self, images, noise):
        batch = images.shape[0]
        patches = self.patchify(images)
        ids_shuffle = noise.argsort(dim=1)
        ids_restore = ids_shuffle.argsort(dim=1)
        ids_keep = ids_shuffle[:, : self.keep]

        x = self.patch_embed(rows(patches, ids_keep)) + rows(self.pos_embed[:, 1:].expand(batch, -1, -1), ids_keep)
        x = torch.cat(((self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1), x), dim=1)
        x = self.norm(self.blocks(x))

        first, second = x[:, 1:].mean(dim=1).chunk(2)  # BatchNorm sees each view apart
        z = F.normalize(torch.cat((self.projector(first), self.projector(second))).float(), dim=-1)
        logits = (z @ z.T / TEMPERATURE).masked_fill(torch.eye(batch, dtype=torch.bool), float("-inf"))
        contrast = F.cross_entropy(logits, torch.arange(batch).roll(batch // 2))

        y = self.decoder_embed(x)
        removed = self.mask_token.to(y.dtype).expand(batch, self.patches - self.keep, -1)
        y = torch.cat((y[:, :1], rows(torch.cat((y[:, 1:], removed), dim=1), ids_restore)), dim=1)
        y = self.decoder_norm(self.decoder_blocks(y + self.decoder_pos_embed))
        pred = self.decoder_pred(y)[:, 1:].float()
        target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        mask = (ids_restore >= self.keep).float()
        return ((pred - target).square().mean(-1) * mask).sum() / mask.sum() + LAMBDA * contrast


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("precision", choices=("f32", "bf16"))
    parser.add_argument("mode", choices=("eager", "compiled"))
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help=f"of which the first {WARM_UP} warm up")
    parser.add_argument("--pairs", type=int, required=True)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = ViCMAE(*SIZES[args.size])
    parameters = list(model.parameters())
    decay = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=1e-4, betas=(0.9, 0.95), fused=True,  # the fastest it has; on CPUs since PyTorch 2.4
    )
    step_model = torch.compile(model) if args.mode == "compiled" else model
    images = torch.randn(2 * args.pairs, 3, SIZES[args.size][0], SIZES[args.size][0])
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        noise = torch.rand(2 * args.pairs, model.patches)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = step_model(images, noise)
        loss.backward()
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"step_ms": times[WARM_UP:], "loss": loss.item(), "version": torch.__version__,
                      "parameters": sum(p.numel() for p in model.parameters())}))


if __name__ == "__main__":
    main()
