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


def all_cases():
    return [*linear_cases(), *svm_cases(), *encoder_cases()]
