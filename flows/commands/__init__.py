"""The verbs of the command line, one file each: thin skins over functions in ``flows`` and ``registry``."""
