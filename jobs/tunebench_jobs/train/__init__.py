"""The train stage: fine-tune one model on the data stage's examples."""
