"""Which jobs sources are, and where their results go."""

from pathlib import Path

import pytest

from fourd_humans.batch.jobs import Shard, find_jobs, parse_shard, read_list, slurm_shard
from fourd_humans.errors import UsageError

OUT = Path("out")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """videos/{a.mp4, b.MOV, notes.txt, .hidden.mp4, deep/{c.mkv, frames/{1.png, 2.png}}}, and one image beside."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "videos/a.mp4", "videos/b.MOV", "videos/poster.jpg", "videos/notes.txt", "videos/.hidden.mp4",
        "videos/deep/c.mkv", "videos/deep/frames/1.png", "videos/deep/frames/2.png", "picture.png",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def results(jobs):
    return {str(job.source): str(job.file(".pkl")) for job in jobs}


def test_a_folder_gives_a_job_for_each_of_its_videos(tree):
    assert results(find_jobs(["videos"], OUT)) == {"videos/a.mp4": "out/a.pkl", "videos/b.MOV": "out/b.pkl"}


def test_recursive_mirrors_the_folders(tree):
    assert results(find_jobs(["videos"], OUT, recursive=True)) == {
        "videos/a.mp4": "out/a.pkl",
        "videos/b.MOV": "out/b.pkl",
        "videos/deep/c.mkv": "out/deep/c.pkl",
        "videos/deep/frames": "out/deep/frames.pkl",
    }


def test_a_folder_of_images_is_one_job_named_like_it(tree, monkeypatch):
    assert results(find_jobs(["videos/deep/frames"], OUT)) == {"videos/deep/frames": "out/frames.pkl"}
    monkeypatch.chdir(tree / "videos" / "deep" / "frames")
    assert [job.name for job in find_jobs(["."], OUT)] == ["frames"]


def test_patterns_mirror_the_folders_below_their_fixed_beginning(tree):
    assert results(find_jobs(["videos/*/*.mkv"], OUT)) == {"videos/deep/c.mkv": "out/deep/c.pkl"}
    assert results(find_jobs(["videos/**/*.m*"], OUT)).keys() == {"videos/a.mp4", "videos/deep/c.mkv"}


def test_sources_mix_and_each_job_is_there_once(tree):
    jobs = find_jobs(["picture.png", "videos", "videos/a.mp4", "videos/../videos/a.mp4"], OUT)
    assert [job.name for job in jobs] == ["picture", "a", "b"]


def test_two_jobs_with_the_same_output_are_refused(tree):
    (tree / "videos" / "a.avi").touch()
    with pytest.raises(UsageError, match=r"a\.avi and videos/a\.mp4 would both be written to out/a\.pkl"):
        find_jobs(["videos"], OUT)


def test_the_output_folder_is_no_source(tree):
    jobs = find_jobs(["videos"], Path("videos/deep"), recursive=True)
    assert {job.name for job in jobs} == {"a", "b"}


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "no file or folder"), ("videos/*.webm", "no file matches"), ("empty", "no videos or images")],
)
def test_a_source_with_nothing_in_it_is_refused(tree, source, message):
    (tree / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        find_jobs([source], OUT)


def test_a_folder_of_folders_needs_recursive(tree):
    (tree / "above").mkdir()
    (tree / "videos").rename(tree / "above" / "videos")
    with pytest.raises(UsageError, match="--recursive"):
        find_jobs(["above"], OUT)


def test_a_list_is_one_source_a_line(tree):
    (tree / "list.txt").write_text("# what failed\nvideos/a.mp4\n\n  picture.png\n")
    assert read_list(tree / "list.txt") == ["videos/a.mp4", "picture.png"]
    (tree / "list.txt").write_text("# nothing\n")
    with pytest.raises(UsageError, match="names no source"):
        read_list(tree / "list.txt")


def test_shards_do_every_job_once(tree):
    jobs = find_jobs(["videos"], OUT, recursive=True)
    shards = [Shard(number, 3).of(jobs) for number in (1, 2, 3)]
    assert sorted(job.name for shard in shards for job in shard) == ["a", "b", "c", "frames"]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "a/b", "-1/4", "1/0"])
def test_a_shard_is_a_number_from_1(text):
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)


def test_slurm_says_which_shard(tree):
    variables = {"ID": "14", "MIN": "10", "COUNT": "4", "STEP": "2"}
    environment = {f"SLURM_ARRAY_TASK_{key}": value for key, value in variables.items()}
    assert slurm_shard(environment) == Shard(3, 4)
    assert parse_shard("3/4") == Shard(3, 4)
    assert slurm_shard({}) is None
