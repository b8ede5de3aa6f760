"""What the paper says, as far as it could be read: arXiv 2510.00664, v1 of 1 October 2025 and v2 of 13 February 2026.

Only its abstracts, figure captions and summaries by others could be read: no equation, table or hyperparameter. What it
does not say is a named choice of this project.
"""

SOURCE = "arXiv 2510.00664"
BACKBONES = ("simple_cnn", "resnet18", "convnextv2_tiny")
DATASETS = ("mnist", "fashion_mnist")
#: In pixels, from the captions of figures 2 to 5.
RESOLUTIONS = (23, 112)
#: Whether it has numbers of its own that could be compared.
NUMBERS = "not available (only its abstracts and figure captions could be read)"

_BOTH = "figure 2 (mean MNIST reconstruction prototypes per class, 23×23, ResNet and ConvNeXt-V2)"
#: The figures whose captions are known, all on MNIST, by backbone and resolution.
FIGURES = {
    ("resnet18", 23): _BOTH,
    ("convnextv2_tiny", 23): _BOTH,
    ("simple_cnn", 23): "figures 3 (CNN, cross-entropy: row ce) and 4 (CNN, Batch-CAM prototype loss: prototype rows)",
    ("convnextv2_tiny", 112): "figure 5 (MNIST 112×112, ConvNeXt-V2, prototype loss with L1: row prototype-l1)",
}
