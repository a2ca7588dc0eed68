"""Many trainings of one config: seeds, folds, search; and which texts to annotate next."""
