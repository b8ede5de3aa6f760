"""Every dataset, backbone, loss, metric and timing contender, each declared once; nothing here needs torch.

The parameters' schema, `--help`, the columns of cells.csv, the headings of tables and the labels of figures all come
from these tables. To add a loss, a backbone, a dataset or a metric, add its row here and its code in the module that
its section names; CONTRIBUTING.md walks through each.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

# --- Datasets: bench/prepare/datasets.py makes them -----------------------------------------------------------------


class Dataset(NamedTuple):
    """A dataset, and what readers call it; perhaps another one's images with a cue that names the label."""

    name: str
    shown: str
    base: str = ""  # whose images it has; "": its own
    cue: Literal["", "decoy", "color"] = ""  # bench/cell/cues.py
    truth: float = 1.0  # share of the training images whose cue names their own label


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("digits", "digits"),
        Dataset("mnist", "MNIST"),
        Dataset("fashion_mnist", "Fashion-MNIST"),
        Dataset("decoy_digits", "decoy digits", "digits", "decoy"),
        Dataset("decoy_mnist", "decoy MNIST", "mnist", "decoy"),
        Dataset("decoy_fashion_mnist", "decoy Fashion-MNIST", "fashion_mnist", "decoy"),
        Dataset("decoy_mnist_99", "decoy MNIST, 99 % true", "mnist", "decoy", 0.99),
        Dataset("decoy_mnist_95", "decoy MNIST, 95 % true", "mnist", "decoy", 0.95),
        Dataset("decoy_mnist_90", "decoy MNIST, 90 % true", "mnist", "decoy", 0.9),
        Dataset("color_mnist", "colour MNIST", "mnist", "color"),
    )
}


#: How many images their validation splits have (bench/prepare/sources.json).
VALIDATION = {"digits": 180, "mnist": 5_000, "fashion_mnist": 5_000}


def base(dataset: str) -> str:
    """The dataset whose images a dataset has: itself, where it has no cue."""
    return DATASETS[dataset].base or dataset


def has_cue(dataset: str) -> bool:
    """Whether the images of a dataset carry something that names the label in training."""
    return bool(DATASETS[dataset].cue)


#: What the cue of a test image says: its own label; one drawn at random (the test split as it is); the opposite end of
#: the scale; nothing, as there is none.
CONDITIONS = ("true", "decoy", "reversed", "clean")


# --- Backbones: bench/cell/backbones.py builds them -----------------------------------------------------------------


class Backbone(NamedTuple):
    """A network and the place where its map is read."""

    name: str
    shown: str
    group: Literal["paper", "place", "check"]  # place: the map is read elsewhere; check: known to fall for decoys
    least_resolution: int  # px, at which it gives a map that every loss can use: SSIM's window is 11 px


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("simple_cnn", "SimpleCNN", "paper", 12),
        Backbone("resnet18", "ResNet-18", "paper", 11),
        Backbone("convnextv2_tiny", "ConvNeXt-V2-Tiny", "paper", 11),
        Backbone("resnet18_earlier", "ResNet-18, one stage earlier", "place", 11),
        Backbone("convnextv2_tiny_earlier", "ConvNeXt-V2-Tiny, one stage earlier", "place", 11),
        Backbone("perceptron", "perceptron", "check", 11),
    )
}
PAPER_BACKBONES = tuple(backbone.name for backbone in BACKBONES.values() if backbone.group == "paper")

# --- Losses: bench/cell/losses.py computes them ---------------------------------------------------------------------


class Loss(NamedTuple):
    """Cross-entropy + weight · a regulariser."""

    name: str
    group: Literal["paper", "control", "reading", "baseline"]
    about: str
    weighted: bool = True  # False: cross-entropy alone, or what must equal it
    masked: bool = False  # is told where each image's ink is
    mapless: bool = False  # its regulariser knows no map


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("ce", "paper", "cross-entropy alone", weighted=False),
        Loss("prototype-l1", "paper", "each map against its class's prototype, mean absolute difference"),
        Loss("prototype-l2", "paper", "the same, mean squared difference"),
        Loss("prototype-ssim", "paper", "the same, 1 − SSIM"),
        Loss("batchcam-l1", "paper", "each class's mean map in the batch against its prototype, absolute difference"),
        Loss("batchcam-l2", "paper", "the same, mean squared difference"),
        Loss("batchcam-ssim", "paper", "the same, 1 − SSIM"),
        Loss("zero-ssim", "control", "the weight is 0: must give the very bits of ce", weighted=False),
        Loss("permuted-ssim", "control", "every class has the prototype of the next class"),
        Loss("global_mean-ssim", "control", "every class has the mean of all prototypes"),
        Loss("blob-ssim", "control", "every class has a Gaussian in the centre of the image"),
        Loss("noise-ssim", "control", "every class has its own uniform noise"),
        Loss("corner-ssim", "control", "every class has a Gaussian in the top left corner"),
        Loss("inverted-ssim", "control", "every class has 1 − its prototype"),
        Loss("batchcam_permuted-ssim", "control", "batchcam-ssim, every class with the prototype of the next class"),
        Loss("batchcam_global_mean-ssim", "control", "batchcam-ssim, every class with the mean of all prototypes"),
        Loss("batchcam_blob-ssim", "control", "batchcam-ssim, every class with a Gaussian in the centre of the image"),
        Loss("weight_decay", "control", "the weight is added to AdamW's weight decay", mapless=True),
        Loss("input_gradient", "control", "the squared gradient of the cross-entropy by the image", mapless=True),
        Loss("consistency-ssim", "reading", "each map against its class's mean map in the batch"),
        Loss("batch_image-ssim", "reading", "each map against its class's mean image in the batch"),
        Loss("oracle-ssim", "control", "the prototypes of the images without decoys, which a user does not have"),
        Loss("rrr", "baseline", "right for the right reasons: map energy on the background", masked=True),
        Loss("hint", "baseline", "HINT: each map against its image's ink", masked=True),
    )
}
PAPER_LOSSES = tuple(loss.name for loss in LOSSES.values() if loss.group == "paper")
WEIGHTLESS = tuple(loss.name for loss in LOSSES.values() if not loss.weighted)
MASKED = tuple(loss.name for loss in LOSSES.values() if loss.masked)


def kind_of(loss: str) -> str:
    """Which of the paper's two regularisers a loss of the paper has: `prototype` or `batchcam`."""
    return loss.partition("-")[0]


# --- Metrics: bench/cell/evaluation.py and saliency.py measure them; the order is that of cells.csv ------------------


class Metric(NamedTuple):
    """A column of cells.csv, and how readers see it."""

    name: str
    label: str  # with its unit
    group: Literal["accuracy", "reconstruction", "decoy", "saliency", "method", "count"]
    better: Literal["more", "less", ""] = ""
    factor: int = 1  # to the unit of the label
    decimals: int = 3
    chance: float | None = None  # in that unit: what a map that knows nothing, or a class's template, reaches

    @property
    def difference(self) -> str:
        """The label of a difference: of percentages, points."""
        return self.label.replace(", %", ", points")

    @property
    def heading(self) -> str:
        """The label with an arrow for the better direction."""
        return f"{self.label} {'↑' if self.better == 'more' else '↓'}" if self.better else self.label


COMPARISONS = ("l1", "l2", "ssim")
_COMPARED = {"l1": ("L1", "less"), "l2": ("L2", "less"), "ssim": ("SSIM", "more")}


def _compared(prefix: str, suffix: str, label: str) -> list[Metric]:
    """L1, L2 and SSIM of one kind; `label` has a place for the distance's name."""
    return [
        Metric(f"{prefix}{name}{suffix}", label.format(shown), "reconstruction", better)  # type: ignore[arg-type]
        for name, (shown, better) in _COMPARED.items()
    ]


#: Maps that no loss guides, by which the models of one backbone are looked at as well.
OTHER_METHODS: dict[Literal["hires_cam", "layer_cam"], str] = {"hires_cam": "HiResCAM", "layer_cam": "LayerCAM"}
ABLATED = "simple_cnn"


def _of_other_methods() -> list[Metric]:
    return [
        metric
        for method, shown in OTHER_METHODS.items()
        for metric in (
            Metric(f"{method}_ssim", f"{shown}: SSIM", "method", "more"),
            Metric(f"{method}_epg_ink", f"{shown}: energy on ink", "method", "more"),
            Metric(f"{method}_decoy_mass", f"{shown}: decoy mass, %", "method", "less", 100, 2, 2.04),
        )
    ]


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy, %", "accuracy", "more", 100, 2),
        Metric("worst_class_accuracy", "accuracy of the worst class, %", "accuracy", "more", 100, 2),
        *_compared("", "", "{}"),
        *_compared("", "_nonzero", "{} of non-zero maps"),
        *_compared("class_mean_", "", "class-mean {}"),
        *_compared("class_mean_", "_nonzero", "class-mean {} of non-zero maps"),
        Metric("zero_map_rate", "zero maps, %", "reconstruction", "", 100, 1),
        Metric("true_accuracy", "accuracy, true cue, %", "decoy", "more", 100, 2),
        Metric("decoy_accuracy", "random cue, %", "decoy", "more", 100, 2),
        Metric("reversed_accuracy", "reversed cue, %", "decoy", "more", 100, 2),
        Metric("clean_accuracy", "no cue, %", "decoy", "more", 100, 2),
        Metric("reliance", "reliance, points", "decoy", "less", 100, 2),
        Metric("decoy_flip_rate", "flips, %", "decoy", "less", 100, 1),
        Metric("decoy_mass", "decoy mass, %", "decoy", "less", 100, 2, 2.04),
        Metric("epg_ink", "energy on ink", "saliency", "more"),
        Metric("specificity", "specificity", "saliency", "more", chance=0),
        Metric("coherence", "coherence", "saliency", "more"),
        Metric("road", "ROAD", "saliency", "more", chance=0),
        Metric("undefined_maps", "undefined maps", "count", decimals=1),
        Metric("lone_images", "lone images", "count", decimals=0),
        *_of_other_methods(),
    )
}
#: What a sweep measures on the validation split; `objective` is the regulariser itself, without its weight.
SWEPT_METRICS = ("accuracy", "objective", "ssim", "epg_ink", "specificity", "coherence", "undefined_maps")
#: What is followed over the epochs of a training on images with cues.
FOLLOWED = ("true_accuracy", "decoy_accuracy")

# --- Timing: bench/timing/inference.py and training.py set these contenders up ---------------------------------------

FORWARD = "forward"  # the plain forward pass, the floor of the maps
LOOP = "loop, backward()"
AUTOGRAD_LOOP = "loop, autograd.grad"
EXPLAIN = "explain"
EXPLAIN_ALONE = "explain, map alone"
EXPLAIN_ALL = "explain, all classes"
EXPLAIN_ALL_ALONE = "explain, all classes, map alone"
GRAD_CAM = "grad_cam"  # of activations and logits that are there already
CAPTUM, TORCH_CAM, PYTORCH_GRAD_CAM = PEERS = ("captum", "torch-cam", "pytorch-grad-cam")
CE_STEP = "ce"  # the floor of the training steps
WATCHED_STEP = "ce, maps watched"  # the maps of every batch are made as well, without a graph, say to show them
STEPS = (CE_STEP, WATCHED_STEP, *(loss for loss in PAPER_LOSSES if loss != CE_STEP))
OUTPUT_TOLERANCE = 1e-3  # how far an output may be from the definition, relative to its largest value

# --- What the schema and the type checker know of them ---------------------------------------------------------------

DeviceName = Literal["cpu", "cuda"]
DEVICES: tuple[DeviceName, ...] = ("cpu", "cuda")
if TYPE_CHECKING:
    DatasetName = str
    BackboneName = str
    PaperBackbone = str
    LossName = str
else:
    DatasetName = Literal[tuple(DATASETS)]
    BackboneName = Literal[tuple(BACKBONES)]
    PaperBackbone = Literal[PAPER_BACKBONES]
    LossName = Literal[tuple(LOSSES)]


def shown(name: str) -> str:
    """A dataset's or backbone's name as readers know it; any other name as it is."""
    known: dict[str, Dataset | Backbone] = {**DATASETS, **BACKBONES}
    return known[name].shown if name in known else name
