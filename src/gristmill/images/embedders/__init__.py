"""Embedders of images: a perceptual hash, the layout of colours and edges, and models in the format ONNX."""
