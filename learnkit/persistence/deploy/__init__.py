"""Models for other programs: ONNX and torch.export."""

__all__: list[str] = []
