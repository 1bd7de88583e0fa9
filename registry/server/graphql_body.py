"""MLflow's GraphQL, which its pages read runs with, fails inside on bodies that are no query; they are refused before."""

from flask import request
from graphql import GraphQLError, parse


def graphql_problem() -> str | None:
    """What is wrong with the body of the current request to ``/graphql``; None where it is a query."""
    body = request.get_json(silent=True) if request.method == "POST" else None
    query = body.get("query") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(query, str):
        return "GraphQL is asked by POST with a JSON object that has a query; send one"
    variables, operation = body.get("variables"), body.get("operationName")
    if not isinstance(variables, dict | None) or not isinstance(operation, str | None):
        return "variables is an object and operationName a text, or neither is there; send them so"
    try:
        parse(query)
    except (GraphQLError, RecursionError):
        return "this is no query of GraphQL; see its grammar"
    return None
