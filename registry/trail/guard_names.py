"""What both databases share: the names of the trail's table and its guards, and how long a writer waits."""

from typing import Final

NAME: Final = "changeover_events"
NO_UPDATE, NO_DELETE, NO_TRUNCATE, IN_ORDER = (f"{NAME}_{name}" for name in ("no_update", "no_delete", "no_truncate", "in_order"))
BUSY_SECONDS: Final = 30
"""How long a writer waits for the one before it."""
OF_MLFLOW: Final = "prevent_secrets_aad_mutation"
"""The one trigger that MLflow's own migrations make, on its table ``secrets``."""
