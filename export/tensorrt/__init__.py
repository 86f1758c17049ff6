"""An exported graph as a TensorRT engine: what is asked for, the graph in TensorRT's terms, and the build.

::

    sizes.py      which free sizes occur, so that a profile covers them
    plan.py       EnginePlan: shape profile, file names by GPU architecture, config.pbtxt (pure)
    network.py    the exported graph, written with what TensorRT's parser takes (same answers)
    device.py     which architecture the GPU here has
    engine.py     the build: the only module that calls TensorRT
    version.py    a version folder's engines and config
    serving.py    the config of NVIDIA's container, for one architecture

Only `engine.py` needs TensorRT and a GPU, so everything that decides is tested without either.
"""
