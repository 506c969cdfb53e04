"""What Aidge calls the inputs and outputs of operators, where get_inputs_name() and get_outputs_name() say something
else than the parameters of the functions in `operators`."""

from __future__ import annotations

SEVERAL = ["data_input_0", "data_input_n"]
EXTREMES = ["data_input_1", "data_input_n"]

INPUT_NAMES: dict[str, list[str]] = {
    "Concat": SEVERAL,
    **dict.fromkeys(("Max", "Min", "Sum"), EXTREMES),
    **dict.fromkeys(("Hardmax", "Heaviside"), ["data_input", "data_values"]),
    "BitShift": ["InputTensor", "ShiftAmount"],
    "CastLike": ["data_input_1", "target_type"],
    "ConstantOfShape": ["input"],
    "Expand": ["data", "shape"],
    "Mod": ["dividend", "divisor"],
    "NonZero": ["X"],
    "OneHot": ["indices", "depth", "values"],
    "Pad": ["data_input", "pads", "value", "axes"],
    **dict.fromkeys((f"Reduce{k}" for k in ("Max", "Mean", "Min", "Sum")), ["data_input", "axes"]),
    "Squeeze": ["data_input", "axes_to_squeeze"],
    "Unsqueeze": ["data_input", "axes_to_unsqueeze"],
    "Tile": ["data_input", "repeats_input"],
    "TopK": ["x", "k"],
    "Trilu": ["input", "k"],
    "Where": ["cond_input", "data_input_1", "data_input_2"],
    "MatMul": ["data_input1", "data_input2"],
}
OUTPUT_NAMES: dict[str, list[str]] = {
    "Split": ["data_output_0", "data_output_n"],
    **dict.fromkeys(("Hardmax", "Heaviside", "OneHot", "Expand", "Trilu"), ["output"]),
    **dict.fromkeys((f"MaxPooling{d}D" for d in (1, 2, 3)), ["data_output", "indices"]),
    "BitShift": ["OutputTensor"],
    "ConstantOfShape": ["constant_of_shape"],
    "Dropout": ["data_output", "mask"],
    "Mod": ["remainder"],
    "NonZero": ["Y"],
    "Squeeze": ["squeezed"],
    "Unsqueeze": ["unsqueezed"],
}
