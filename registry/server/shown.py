"""Files of a registered version are shown only as they were registered: what quality assurance looks at is what it signs."""

from flask import request
from mlflow.exceptions import MlflowException
from mlflow.server.handlers import _get_model_registry_store

from registry.rules.files import Files
from registry.server.artifact_gate import exchanged
from registry.server.attempts import facts_of

_OF_VERSION = "/model-versions/get-artifact"
_OF_RUN = "/get-artifact"
_OF_MODEL = "/mlflow/logged-models/<model_id>/artifacts/files"


def refuse_shown(files: Files) -> str | None:
    """Why the file that the current request asks for is not shown; None where it is, or where the request asks for none.

    Names are read as MLflow's own handlers read them.
    """
    rule = request.url_rule.rule if request.url_rule is not None else ""
    try:
        if rule.endswith(_OF_VERSION):
            name, version = request.args.get("name"), request.args.get("version")
            return files.problem(facts_of(_get_model_registry_store().get_model_version(name, version)), remembered=True)
        if rule.endswith(_OF_RUN):
            return exchanged(request.args.get("run_id") or request.args.get("run_uuid") or "", files)
        if rule.endswith(_OF_MODEL):
            return exchanged(str((request.view_args or {}).get("model_id", "")), files)
    except MlflowException:
        return None  # there is nothing of that name, as MLflow itself will say
    return None
