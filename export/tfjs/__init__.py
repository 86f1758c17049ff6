"""TensorFlow.js graph models -> ONNX, with numpy and onnx alone (there is no TensorFlow involved anywhere).

`reader` loads nodes and weights, `convert` and `operators` write the ONNX graph, `evaluate` runs the same nodes in
torch as an independent reference. Only the operators of the models that we export are known.
"""
