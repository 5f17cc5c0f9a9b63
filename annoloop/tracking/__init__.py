"""Trainings where others see and compare them: in MLflow, TensorBoard or Weights & Biases."""
