"""Read models, as the engine keeps them: projections, generations, rows, folds, and parked streams."""
