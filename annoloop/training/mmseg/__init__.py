"""The child process that trains and predicts: the only home of torch and mmseg."""
