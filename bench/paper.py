"""What the paper says, as far as it could be read: arXiv 2510.00664, v1 of 1 October 2025 and v2 of 13 February 2026.

Only its abstracts, figure captions and summaries by others could be read: no equation, table or hyperparameter. What it
does not say is a named choice of this project.
"""

#: In pixels, from the captions of figures 2 to 5.
RESOLUTIONS = (23, 112)
#: Whether it has numbers of its own that could be compared.
NUMBERS = "not available (only its abstracts and figure captions could be read)"

#: What `USUAL` holds, and of whom.
USUAL_IS = (
    "that networks of this kind reach in other work, on all training images in up to five epochs;"
    " ConvNeXt-V2-Tiny's is of 112 px"
)
#: In %, low and high, by dataset and backbone; ConvNeXt's at 112 px.
USUAL = {
    ("mnist", "simple_cnn"): (98.5, 99.4),
    ("mnist", "resnet18"): (97.9, 99.7),
    ("mnist", "convnextv2_tiny"): (98.5, 99.4),
    ("fashion_mnist", "simple_cnn"): (88.0, 92.0),
    ("fashion_mnist", "resnet18"): (88.0, 94.0),
    ("fashion_mnist", "convnextv2_tiny"): (88.0, 92.0),
}

_BOTH = "figure 2 (mean MNIST reconstruction prototypes per class, 23×23, ResNet and ConvNeXt-V2)"
#: The figures whose captions are known, all on MNIST, by backbone and resolution.
FIGURES = {
    ("resnet18", 23): _BOTH,
    ("convnextv2_tiny", 23): _BOTH,
    ("simple_cnn", 23): "figures 3 (CNN, cross-entropy: row ce) and 4 (CNN, Batch-CAM prototype loss: prototype rows)",
    ("convnextv2_tiny", 112): "figure 5 (MNIST 112×112, ConvNeXt-V2, prototype loss with L1: row prototype-l1)",
}
