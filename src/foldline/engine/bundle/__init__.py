"""What a bundle for a Kaggle notebook is made of: wheels, weights, facts, notebook; and how long it will take there."""
