"""Deep networks for images over time, with any neuron, and the layers of which they are made.

All networks take input of shape (time, batch, channels, height, width) and an optional state, and
return the output, shape (time, batch, classes), and the state after the last step, so a stream can be
processed in parts. In training mode, batch normalization uses the statistics of the time steps of one
call, so parts of a run equal the whole run in evaluation mode only.
"""

from ..containers import threshold_weight as threshold_weight
from .attention import (
    SpikeDrivenSelfAttention as SpikeDrivenSelfAttention,
    SpikingSelfAttention as SpikingSelfAttention,
    TokenAttention as TokenAttention,
)
from .base import (
    DropoutOverTime as DropoutOverTime,
    load_weights as load_weights,
    LoadedWeights as LoadedWeights,
)
from .blocks import Residual as Residual
from .convnet import ConvNet as ConvNet, ConvNet4 as ConvNet4
from .gated import (
    SpikingConvLSTM as SpikingConvLSTM,
    SpikingGRU as SpikingGRU,
    SpikingGRUState as SpikingGRUState,
    SpikingLSTM as SpikingLSTM,
    SpikingLSTMState as SpikingLSTMState,
)
from .liquid import (
    SpikingLTC as SpikingLTC,
    SpikingLTCCell as SpikingLTCCell,
    SpikingLTCState as SpikingLTCState,
)
from .mobilenet import InvertedResidual as InvertedResidual, mobilenet_v2 as mobilenet_v2, MobileNetV2 as MobileNetV2
from .msresnet import (
    ms_resnet18 as ms_resnet18,
    ms_resnet34 as ms_resnet34,
    ms_resnet104 as ms_resnet104,
    MSResNet as MSResNet,
)
from .normalization import (
    BatchNormThroughTime as BatchNormThroughTime,
    StepCount as StepCount,
    TemporalEffectiveBatchNorm as TemporalEffectiveBatchNorm,
    ThresholdDependentBatchNorm as ThresholdDependentBatchNorm,
)
from .resnet import (
    ResidualBlock as ResidualBlock,
    ResNet as ResNet,
    resnet18 as resnet18,
    resnet34 as resnet34,
    resnet50 as resnet50,
    resnet101 as resnet101,
    resnet152 as resnet152,
    sew_add as sew_add,
    sew_and as sew_and,
    sew_iand as sew_iand,
    sew_resnet18 as sew_resnet18,
    sew_resnet34 as sew_resnet34,
    sew_resnet50 as sew_resnet50,
    sew_resnet101 as sew_resnet101,
    sew_resnet152 as sew_resnet152,
    SEWResNet as SEWResNet,
)
from .transformer import (
    QKFormer as QKFormer,
    qkformer_10_384 as qkformer_10_384,
    qkformer_10_512 as qkformer_10_512,
    qkformer_10_768 as qkformer_10_768,
    spike_driven_transformer_8_384 as spike_driven_transformer_8_384,
    spike_driven_transformer_8_512 as spike_driven_transformer_8_512,
    spike_driven_transformer_8_768 as spike_driven_transformer_8_768,
    SpikeDrivenTransformer as SpikeDrivenTransformer,
    Spikformer as Spikformer,
    spikformer_4_384 as spikformer_4_384,
    spikformer_8_384 as spikformer_8_384,
    spikformer_8_512 as spikformer_8_512,
    spikformer_8_768 as spikformer_8_768,
)
from .vgg import (
    VGG as VGG,
    vgg11 as vgg11,
    vgg11_bn as vgg11_bn,
    vgg13 as vgg13,
    vgg13_bn as vgg13_bn,
    vgg16 as vgg16,
    vgg16_bn as vgg16_bn,
    vgg19 as vgg19,
    vgg19_bn as vgg19_bn,
)
