"""The API's routes, a file for each resource. Each has `routes(service) -> APIRouter`."""
