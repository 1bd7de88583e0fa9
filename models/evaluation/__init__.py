"""How good it is: exam, metrics, objective, fusion, gates."""
