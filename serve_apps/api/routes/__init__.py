"""The API's routes, a file for each resource.

Read any of them: each has `routes(service) -> APIRouter`.
"""
