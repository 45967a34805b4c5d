"""The cases of peers.py. Numbers are drawn by a generator with a fixed seed."""
import dataclasses

import numpy as np

RANDOM = np.random.default_rng(7)


@dataclasses.dataclass
class Case:
    name: str
    domain: str
    op: str
    inputs: list
    attrs: dict
    wanted: tuple = (0,)
    constants: tuple = ()  # inputs that are initializers
    expected: list = None  # where ONNX Runtime has no kernel for the CPU: computed here


def floats(*shape, scale=1.0):
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def ml(name, op, inputs, wanted=(0,), **attrs):
    return Case(name, "ai.onnx.ml", op, inputs, attrs, wanted)


def linear_cases():
    x, two, three = floats(5, 4), floats(4).tolist(), floats(12).tolist()
    for after in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"):
        yield ml(f"linear_classifier_{after.lower()}", "LinearClassifier", [x], (0, 1), coefficients=three,
                 intercepts=[0.1, 0.2, -0.3], classlabels_ints=[4, 5, 6], post_transform=after, multi_class=1)
    for after in ("NONE", "LOGISTIC", "SOFTMAX"):
        yield ml(f"linear_classifier_binary_{after.lower()}", "LinearClassifier", [x], (0, 1), coefficients=two,
                 intercepts=[0.1], classlabels_strings=["no", "yes"], post_transform=after)
    yield ml("linear_regressor", "LinearRegressor", [x], coefficients=three, intercepts=[1.0, 2.0, 3.0], targets=3)
    yield ml("linear_regressor_one", "LinearRegressor", [x], coefficients=two, targets=1)


def svm_cases():
    x = floats(6, 3)
    params = {"LINEAR": [0.0, 0.0, 0.0], "POLY": [0.5, 1.0, 3.0], "RBF": [0.7, 0.0, 0.0], "SIGMOID": [0.3, 0.2, 0.0]}
    for kernel, values in params.items():
        yield ml(f"svm_regressor_{kernel.lower()}", "SVMRegressor", [x], coefficients=floats(5).tolist(), rho=[0.4], n_supports=5,
                 support_vectors=floats(15).tolist(), kernel_type=kernel, kernel_params=values)
        yield ml(f"svm_classifier_{kernel.lower()}", "SVMClassifier", [x], (0, 1), coefficients=floats(12).tolist(),
                 rho=floats(3).tolist(), vectors_per_class=[2, 3, 1], support_vectors=floats(18).tolist(), kernel_type=kernel,
                 kernel_params=values, classlabels_ints=[0, 1, 2])
    yield ml("svm_regressor_one_class", "SVMRegressor", [x], coefficients=floats(4).tolist(), rho=[0.1], n_supports=4, one_class=1,
             support_vectors=floats(12).tolist(), kernel_type="RBF", kernel_params=[0.5, 0.0, 0.0])
    yield ml("svm_regressor_linear_model", "SVMRegressor", [x], coefficients=floats(3).tolist(), rho=[0.1],
             kernel_params=[0.0, 0.0, 0.0])
    yield ml("svm_classifier_probabilities", "SVMClassifier", [x], (0, 1), coefficients=floats(12).tolist(), rho=floats(3).tolist(),
             vectors_per_class=[2, 3, 1], support_vectors=floats(18).tolist(), kernel_type="RBF", kernel_params=[0.5, 0.0, 0.0],
             prob_a=[-1.2, -0.8, -2.0], prob_b=[0.1, 0.0, -0.2], classlabels_strings=["a", "b", "c"])
    yield ml("svm_classifier_two", "SVMClassifier", [x], (0, 1), coefficients=floats(5).tolist(), rho=[0.2], vectors_per_class=[3, 2],
             support_vectors=floats(15).tolist(), kernel_type="RBF", kernel_params=[0.5, 0.0, 0.0], classlabels_ints=[0, 1])
    yield ml("svm_classifier_liblinear", "SVMClassifier", [x], (0, 1), coefficients=floats(9).tolist(), rho=[0.2],
             kernel_params=[0.0, 0.0, 0.0], classlabels_ints=[3, 4, 5], post_transform="SOFTMAX")


def encoder_cases():
    yield ml("one_hot_encoder", "OneHotEncoder", [np.array([[1, 4], [9, 2]], np.int64)], cats_int64s=[1, 2, 4], zeros=1)
    yield ml("one_hot_encoder_floats", "OneHotEncoder", [np.array([1.7, 4.0, 2.2], np.float32)], cats_int64s=[1, 2, 4], zeros=1)
    yield ml("one_hot_encoder_texts", "OneHotEncoder", [np.array(["b", "x", "a"], object)], cats_strings=["a", "b"], zeros=1)
    holes = np.array([[1, np.nan], [np.nan, 2]], np.float32)
    yield ml("imputer_nan", "Imputer", [holes], imputed_value_floats=[7.0, 8.0], replaced_value_float=float("nan"))
    yield ml("imputer_ints", "Imputer", [np.array([[1, 0], [0, 2]], np.int64)], imputed_value_int64s=[9], replaced_value_int64=0)
    yield ml("feature_vectorizer", "FeatureVectorizer", [floats(3, 2), floats(3, 4)], inputdimensions=[2, 4])
    yield ml("category_mapper", "CategoryMapper", [np.array([["a", "z"]], object)], cats_strings=["a", "b"], cats_int64s=[5, 6])
    yield ml("category_mapper_back", "CategoryMapper", [np.array([6, 1], np.int64)], cats_strings=["a", "b"], cats_int64s=[5, 6],
             default_string="none")


def ms(name, op, inputs, wanted=(0,), constants=(), **attrs):
    return Case(name, "com.microsoft", op, inputs, attrs, wanted, constants)


def fused_cases():
    x, w = floats(1, 3, 6, 6), floats(4, 3, 3, 3)
    for activation, params in (("Relu", None), ("Tanh", None), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5]), ("HardSigmoid", [0.3, 0.4])):
        extra = {"activation_params": params} if params else {}
        yield ms(f"fused_conv_{activation.lower()}", "FusedConv", [x, w, floats(4)], activation=activation, pads=[1, 1, 1, 1], **extra)
    yield ms("fused_conv_residual", "FusedConv", [x, w, floats(4), floats(1, 4, 4, 4)], activation="Relu")
    yield ms("fused_gemm", "FusedGemm", [floats(3, 4), floats(5, 4), floats(5)], transB=1, alpha=0.5, activation="LeakyRelu",
             activation_alpha=0.1)
    yield ms("fused_matmul", "FusedMatMul", [floats(2, 4, 3), floats(2, 5, 4)], transA=1, transB=1, alpha=0.25)
    yield ms("quick_gelu", "QuickGelu", [floats(3, 4)])
    yield ms("gelu", "Gelu", [floats(3, 4)])
    yield ms("bias_gelu", "BiasGelu", [floats(3, 4), floats(4)])
    yield ms("fast_gelu", "FastGelu", [floats(3, 4), floats(4)])


def norm_cases():
    x, skip, gamma, beta, bias = floats(2, 3, 8), floats(2, 3, 8), floats(8), floats(8), floats(8)
    yield ms("skip_layer_norm", "SkipLayerNormalization", [x, skip, gamma, beta, bias], (0, 3), epsilon=1e-5)
    yield ms("skip_layer_norm_plain", "SkipLayerNormalization", [x, skip, gamma, beta], epsilon=1e-5)
    yield ms("skip_rms_norm", "SkipSimplifiedLayerNormalization", [x, skip, gamma], (0, 3), epsilon=1e-5)
    yield Case("simplified_layer_norm", "", "SimplifiedLayerNormalization", [x, gamma], {"epsilon": 1e-5, "axis": -1})


def quantised_cases():
    a, b = RANDOM.integers(0, 255, (3, 8), np.uint8), RANDOM.integers(-127, 127, (8, 5), np.int8)
    scale, column = np.array(0.02, np.float32), (RANDOM.random(5) * 0.1).astype(np.float32)
    yield ms("matmul_integer_to_float", "MatMulIntegerToFloat", [a, b, scale, column, np.array(120, np.uint8), None, floats(5)])
    yield ms("dynamic_quantize_matmul", "DynamicQuantizeMatMul", [floats(3, 8), b, column, np.zeros(5, np.int8), floats(5)])


def nbits_cases():
    for name, rows, inner, block, zeros in (("plain", 5, 64, 32, False), ("zeros", 5, 64, 16, True), ("odd", 3, 80, 32, True)):
        blocks = -(-inner // block)
        weights = RANDOM.integers(0, 255, (rows, blocks, block // 2), np.uint8)
        inputs = [floats(2, inner), weights, (RANDOM.random(rows * blocks) * 0.1).astype(np.float32)]
        if zeros:
            inputs.append(RANDOM.integers(0, 255, rows * ((blocks + 1) // 2), np.uint8))
        yield ms(f"matmul_nbits_{name}", "MatMulNBits", inputs, constants=tuple(range(1, len(inputs))), N=rows, K=inner, bits=4,
                 block_size=block)


def attention_cases():
    q, k, v = floats(2, 5, 12), floats(2, 7, 12), floats(2, 7, 12)
    yield ms("multi_head_attention", "MultiHeadAttention", [q, k, v], num_heads=3)
    yield ms("multi_head_attention_bias", "MultiHeadAttention", [q, k, v, floats(36), None, floats(2, 3, 5, 7)], num_heads=3)
    yield ms("multi_head_attention_causal", "MultiHeadAttention", [k, k, v], num_heads=3, unidirectional=1)
    yield ms("attention", "Attention", [q, floats(12, 36, scale=0.3), floats(36)], num_heads=3)
    yield ms("attention_causal", "Attention", [q, floats(12, 36, scale=0.3), floats(36)], num_heads=3, unidirectional=1)
    positions = np.array([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]], np.int64)
    yield ms("rotary_embedding", "RotaryEmbedding", [floats(2, 3, 5, 4), positions, floats(8, 2), floats(8, 2)])


def layout_cases():
    image = RANDOM.integers(0, 255, (1, 6, 6, 3), np.uint8)
    yield ms("nhwc_max_pool", "NhwcMaxPool", [image], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x, gamma, beta = floats(2, 3, 2, 6), floats(6), floats(6)
    groups = x.astype(np.float64).reshape(2, 6, 3, 2)
    centred = groups - groups.mean(axis=(1, 3), keepdims=True)
    y = (centred / np.sqrt((centred ** 2).mean(axis=(1, 3), keepdims=True) + 1e-5)).reshape(2, 3, 2, 6) * gamma + beta
    yield Case("group_norm", "com.microsoft", "GroupNorm", [x, gamma, beta], {"groups": 3, "epsilon": 1e-5, "activation": 1},
               expected=[(y / (1 + np.exp(-y))).astype(np.float32)])


def all_cases():
    return [*linear_cases(), *svm_cases(), *encoder_cases(), *fused_cases(), *norm_cases(), *quantised_cases(), *nbits_cases(), *attention_cases(),
            *layout_cases()]
