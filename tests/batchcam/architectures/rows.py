"""The rows of the table: a model of torchvision or timm, the layer its map is read at, and that layer's layout."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from batchcam import layouts


class Layout(NamedTuple):
    """How a layer's output becomes (N,K,h,w), and how one writes that."""

    name: str
    function: Callable[[Tensor], Tensor]


class Row(NamedTuple):
    library: str
    model: str
    layer: str
    layout: Layout | None = None
    #: Height and width in pixels. Not square where the model allows it, so that exchanged height and width show.
    size: tuple[int, int] = (64, 96)
    #: What else the model is built with.
    options: dict[str, Any] = {}  # noqa: RUF012 (a named tuple's default, never written)
    #: "eval" or "train".
    mode: str = "eval"
    #: Words that the refusal must hold; None where the map must be right.
    refused: str | None = None
    #: Whether `make test` runs it.
    fast: bool = False

    @property
    def pixels(self) -> str:
        return f"{self.size[0]}×{self.size[1]} px"

    @property
    def name(self) -> str:
        layout = [self.layout.name] if self.layout else []
        parts = [self.library, self.model, self.layer, *layout, self.pixels.removesuffix(" px")]
        return " ".join(parts if self.mode == "eval" else [*parts, "in training mode"])


CHANNELS_LAST = Layout("channels_last", layouts.channels_last)


def tokens(height: int, width: int, skip: int = 1) -> Layout:
    return Layout(f"tokens({height}, {width}, skip={skip})", layouts.tokens(height, width, skip))


def torchvision(model: str, layer: str, layout: Layout | None = None, **row: Any) -> Row:
    return Row("torchvision", model, layer, layout, **row)


def timm(model: str, layer: str, layout: Layout | None = None, **row: Any) -> Row:
    return Row("timm", model, layer, layout, **row)


def fixed(height: int, width: int) -> dict[str, Any]:
    """Of a timm model whose size is chosen when it is built."""
    return {"size": (height, width), "options": {"img_size": (height, width)}}


SQUARE: dict[str, Any] = {"size": (64, 64), "options": {"image_size": 64}}

# Where the class is read from one token alone, nothing reads the patch tokens that the last block puts out: their
# gradient is zero. The norm in front of the last attention is what is usually taken.
ROWS = [
    # Plain convolutional networks, many with an in-place ReLU behind the layer
    torchvision("alexnet", "features.10", fast=True),
    torchvision("vgg11", "features.18"),
    torchvision("vgg11_bn", "features.26"),
    torchvision("vgg16", "features.29", size=(64, 64)),
    torchvision("squeezenet1_1", "features", fast=True),
    torchvision("squeezenet1_0", "classifier.1", size=(96, 128)),
    # Residual networks
    torchvision("resnet18", "layer4"),
    torchvision("resnet18", "layer4", size=(32, 32)),
    torchvision("resnet18", "layer4.1.bn2", fast=True),
    torchvision("resnet34", "layer3"),
    torchvision("resnet50", "layer4"),
    torchvision("resnet50", "layer4.2.bn3"),
    torchvision("resnext50_32x4d", "layer4.2.conv3"),
    torchvision("wide_resnet50_2", "layer3.5"),
    timm("resnet18", "layer4.1.act2"),
    timm("resnet26d", "layer4.1.bn3"),
    timm("resnet10t", "layer3.0.downsample"),
    timm("seresnet18", "layer4.1.se"),
    timm("ecaresnet26t", "layer4"),
    timm("resnetv2_18", "norm"),
    timm("resnest14d", "layer4"),
    timm("res2net50_26w_4s", "layer4.2.bn3"),
    timm("skresnet18", "layer4"),
    timm("legacy_seresnet18", "layer4"),
    timm("tresnet_m", "body.layer4"),
    timm("nf_resnet26", "final_conv"),
    timm("nfnet_l0", "final_conv"),
    timm("botnet26t_256", "stages.3", **fixed(64, 96)),
    timm("lambda_resnet26t", "stages.3", **fixed(64, 96)),
    timm("gcresnext26ts", "stages.3"),
    timm("bat_resnext26ts", "stages.3", size=(256, 256)),
    timm("eca_halonext26ts", "stages.3", size=(256, 256)),
    timm("regnetx_002", "s4"),
    timm("regnety_002", "s4.b7.conv3.bn"),
    torchvision("regnet_x_400mf", "trunk_output"),
    torchvision("regnet_y_400mf", "trunk_output.block4.block4-5.f.c"),
    timm("repvgg_a0", "stages.3"),
    timm("gernet_s", "final_conv.conv"),
    timm("dpn68", "features"),
    timm("dla46_c", "level5"),
    timm("hrnet_w18_small", "final_layer"),
    timm("selecsls42", "head.1"),
    timm("eca_vovnet39b", "stages.3"),
    timm("ese_vovnet19b_slim_dw", "stages.3"),
    timm("cspresnet50", "stages.3"),
    timm("cs3darknet_s", "stages.3"),
    timm("cspnext_tiny", "stages.3"),
    timm("hgnetv2_b0", "stages.3"),
    # Dense networks: ReLU in place as a function, which no attribute of a module switches off
    torchvision("densenet121", "features", fast=True),
    torchvision("densenet121", "features.denseblock4"),
    torchvision("densenet121", "features.denseblock4.denselayer16.conv2"),
    timm("densenet121", "features"),
    timm("rdnet_tiny", "dense_stages"),
    # Inception
    torchvision("googlenet", "inception5b", options={"init_weights": False, "aux_logits": True}),
    torchvision("inception_v3", "Mixed_7c", size=(139, 203), options={"init_weights": False, "aux_logits": True}),
    timm("inception_v3", "Mixed_7c", size=(139, 203)),
    timm("inception_v4", "features.20", size=(139, 203)),
    timm("inception_resnet_v2", "conv2d_7b", size=(139, 203)),
    timm("legacy_xception", "bn4"),
    timm("xception41", "blocks.12"),
    timm("nasnetalarge", "cell_17", size=(96, 96)),
    timm("pnasnet5large", "act", size=(96, 96)),
    # Mobile networks
    torchvision("mobilenet_v2", "features"),
    torchvision("mobilenet_v3_small", "features.12.0"),
    torchvision("mobilenet_v3_large", "features"),
    torchvision("mnasnet0_5", "layers"),
    torchvision("shufflenet_v2_x0_5", "conv5"),
    torchvision("efficientnet_b0", "features"),
    torchvision("efficientnet_v2_s", "features.7.0"),
    timm("efficientnet_b0", "conv_head"),
    timm("tf_efficientnetv2_b0", "bn2"),
    timm("mixnet_s", "conv_head"),
    timm("tinynet_e", "blocks", fast=True),
    timm("mnasnet_small", "blocks"),
    timm("spnasnet_100", "conv_head"),
    timm("mobilenetv3_small_050", "blocks"),
    timm("mobilenet_edgetpu_v2_xs", "blocks"),
    timm("fbnetv3_b", "blocks"),
    timm("hardcorenas_a", "blocks"),
    timm("lcnet_050", "blocks", fast=True),
    timm("ghostnet_050", "blocks"),
    timm("ghostnet_100", "blocks.6.3.shortcut", fast=True),
    timm("ghostnetv2_100", "blocks"),
    timm("repghostnet_050", "blocks"),
    timm("rexnet_100", "features"),
    timm("fasternet_t0", "stages"),
    timm("starnet_s050", "stages"),
    timm("lcnetv2_small", "stages"),
    # Convolutional networks of today
    torchvision("convnext_tiny", "features"),
    timm("convnext_atto", "stages.3", fast=True),
    timm("convnextv2_atto", "stages.2"),
    timm("inception_next_atto", "stages"),
    timm("convmixer_768_32", "blocks.31"),
    timm("convformer_s18", "stages"),
    timm("mambaout_femto", "stages", CHANNELS_LAST, fast=True),
    timm("focalnet_tiny_srf", "layers"),
    timm("edgenext_xx_small", "stages"),
    timm("repvit_m0_9", "stages"),
    timm("fastvit_t8", "final_conv"),
    timm("csatv2", "stages.2"),
    # Convolution and attention
    torchvision("maxvit_t", "blocks.3", size=(224, 224)),
    timm("maxvit_pico_rw_256", "norm", **fixed(64, 96)),
    timm("maxvit_rmlp_pico_rw_256", "stages", **fixed(64, 96)),
    timm("coatnet_pico_rw_224", "stages.3", **fixed(64, 96)),
    timm("caformer_s18", "stages"),
    timm("poolformerv2_s12", "stages"),
    timm("mobilevit_xxs", "final_conv", fast=True),
    timm("mobilevitv2_050", "stages"),
    timm("efficientformer_l1", "stages.2", size=(224, 224)),
    timm("efficientformerv2_s0", "stages", **fixed(64, 96)),
    timm("efficientvit_b0", "stages"),
    timm("efficientvit_m0", "stages.1", **fixed(64, 64)),
    timm("swiftformer_xs", "stages"),
    timm("shvit_s1", "stages.1"),
    timm("nextvit_small", "stages"),
    timm("iformer_t", "stages"),
    timm("lowformer_b0", "in_conv"),
    timm("cpubone_b0_bfrobust", "head.in_conv"),
    timm("davit_tiny", "stages"),
    timm("gcvit_xxtiny", "stages", **fixed(64, 96)),
    timm("levit_conv_128s", "stages", size=(224, 224)),
    timm("levit_128s", "stages", tokens(4, 4, 0), size=(224, 224)),
    timm("tiny_vit_5m_224", "stages"),
    timm("pvt_v2_b0", "stages"),
    timm("visformer_tiny", "stage3", **fixed(64, 96)),
    timm("nest_tiny", "levels", **fixed(64, 64)),
    timm("mobilenetv5_base", "msfa"),
    # Vision transformers with features (N,h,w,K)
    torchvision("swin_t", "features.7", CHANNELS_LAST),
    torchvision("swin_t", "features.7", refused="channels_last", fast=True),
    torchvision("swin_t", "permute"),
    torchvision("swin_v2_t", "norm", CHANNELS_LAST),
    timm("swin_tiny_patch4_window7_224", "layers", CHANNELS_LAST, **fixed(64, 96)),
    timm("swinv2_tiny_window8_256", "norm", CHANNELS_LAST, **fixed(128, 128)),
    timm("swinv2_cr_tiny_224", "stages", size=(224, 224)),
    timm("sequencer2d_s", "stages", CHANNELS_LAST, size=(64, 96)),
    timm("hieradet_small", "blocks.15", CHANNELS_LAST, size=(64, 96)),
    timm("samvit_base_patch16_224", "blocks", CHANNELS_LAST, **fixed(64, 96)),
    timm("volo_d1_224", "network.4", CHANNELS_LAST, **fixed(64, 96)),
    timm("qwen3_vit_88m", "encoder", CHANNELS_LAST, **fixed(64, 96)),
    # Tokens
    torchvision("vit_b_16", "encoder.layers.encoder_layer_11.ln_1", tokens(4, 4), **SQUARE),
    torchvision("vit_b_16", "encoder.layers.encoder_layer_11.ln_1", refused="layout", **SQUARE),
    timm("vit_tiny_patch16_224", "blocks.11.norm1", tokens(4, 6), fast=True, **fixed(64, 96)),
    timm("vit_tiny_patch16_224", "blocks.10", tokens(4, 6), **fixed(64, 96)),
    timm("vit_tiny_patch16_224", "blocks.11", tokens(4, 6), refused="every map", **fixed(64, 96)),
    timm("vit_tiny_r_s16_p8_224", "blocks.11.norm1", tokens(2, 3), **fixed(64, 96)),
    timm("vit_relpos_small_patch16_224", "blocks.11", tokens(4, 6, 0), **fixed(64, 96)),
    timm("vit_base_patch32_siglip_gap_256", "blocks.11", tokens(2, 3, 0), **fixed(64, 96)),
    timm("test_vit3", "blocks", tokens(4, 6), **fixed(64, 96)),
    timm("deit_tiny_patch16_224", "blocks.11.norm1", tokens(4, 6), **fixed(64, 96)),
    timm("deit_tiny_distilled_patch16_224", "blocks.11.norm1", tokens(4, 6, 2), fast=True, **fixed(64, 96)),
    timm("deit_tiny_distilled_patch16_224", "blocks.11.norm1", tokens(4, 6, 1), refused="token", **fixed(64, 96)),
    timm("deit3_small_patch16_224", "blocks.11.norm1", tokens(4, 6), **fixed(64, 96)),
    timm("beit_base_patch16_224", "blocks.11.norm1", tokens(4, 6), **fixed(64, 96)),
    timm("eva02_tiny_patch14_224", "blocks.11", tokens(4, 6), **fixed(56, 84)),
    timm(
        "naflexvit_base_patch16_gap",
        "blocks.11",
        tokens(4, 4, 4),
        size=(64, 64),
        options={"pos_embed_grid_size": (4, 4)},
    ),
    timm("gemma4_vit_167m", "encoder", tokens(4, 6, 0), **fixed(64, 96)),
    timm("cait_xxs24_224", "blocks.23", tokens(4, 6, 0), fast=True, **fixed(64, 96)),
    timm("xcit_nano_12_p16_224", "blocks.11", tokens(4, 6, 0), **fixed(64, 96)),
    timm("convit_tiny", "blocks.9", tokens(4, 4, 0), **fixed(64, 64)),
    timm("coat_lite_tiny", "serial_blocks4.1.norm1", tokens(2, 3), **fixed(64, 96)),
    timm("crossvit_tiny_240", "blocks.2.blocks.1", tokens(14, 14), size=(240, 240)),
    timm("twins_svt_small", "norm", tokens(2, 3, 0), **fixed(64, 96)),
    timm("twins_pcpvt_small", "norm", tokens(2, 3, 0), **fixed(64, 96)),
    timm("tnt_s_patch16_224", "norm2_proj", tokens(4, 6, 0), **fixed(64, 96)),
    timm("mvitv2_tiny", "norm", tokens(7, 7, 0), size=(224, 224)),
    timm("mvitv2_small_cls", "stages.3.blocks.1.norm1", tokens(7, 7), size=(224, 224)),
    timm("hiera_tiny_224", "blocks.11", tokens(7, 7, 0), size=(224, 224)),
    timm("pit_ti_224", "patch_embed", size=(224, 224)),
    timm("vitamin_small_224", "blocks.13", tokens(4, 6, 0), **fixed(64, 96)),
    timm("mixer_s32_224", "norm", tokens(2, 3, 0), **fixed(64, 96)),
    timm("gmixer_12_224", "blocks", tokens(4, 6, 0), fast=True, **fixed(64, 96)),
    timm("gmlp_ti16_224", "blocks", tokens(4, 6, 0), **fixed(64, 96)),
    timm("resmlp_12_224", "blocks", tokens(4, 6, 0), **fixed(64, 96)),
    timm("efficientvim_m1", "norm.2", tokens(3, 3, 0), size=(64, 64)),
    # What cannot be a map
    torchvision(
        "googlenet",
        "inception5b",
        options={"init_weights": False, "aux_logits": True},
        mode="train",
        refused="one tensor",
    ),
    torchvision("lraspp_mobilenet_v3_large", "backbone", options={"weights_backbone": None}, refused="tensor"),
    torchvision("fcn_resnet50", "backbone.layer4", options={"weights_backbone": None}, refused="one tensor"),
    timm("pit_ti_224", "transformers.2", refused="tensor", size=(224, 224)),
    timm("resnet18", "fc", refused="N,K,h,w"),
]
