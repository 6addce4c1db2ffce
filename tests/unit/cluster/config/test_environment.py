"""What processes that run other people's code inherit."""

from cluster.config.child_environment import storage_access, without_secrets


def test_only_what_programs_need_is_handed_on() -> None:
    kept = {"PATH": "/bin", "HOME": "/root", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "0", "https_proxy": "http://p:1"}
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "s",
        "RUNPOD_API_KEY": "s",
        "VAST_API_KEY": "s",
        "DATABASE_URL": "postgresql://u:s@h/d",
        "AIMA_JOIN_TOKEN": "s",
        "RAY_AUTH_TOKEN": "s",
    }
    assert without_secrets(kept | secrets) == kept


def test_the_head_gets_access_to_a_storage_only_where_there_is_one() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "k", "RUNPOD_API_KEY": "s", "PATH": "/bin"}
    assert storage_access(environment, "/home/me/storage", "") == {}
    assert storage_access(environment, "/home/me/storage", "s3://media/public") == {"AWS_ACCESS_KEY_ID": "k"}
