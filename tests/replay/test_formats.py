"""Traces are read as their authors wrote them, and what cannot be read is named by file, line and column."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from pool.replay import Job, Unreadable, read
from pool.replay.workflows import Demand, generate

REQUESTS = "arrival_s,duration_s,key,group,tenant\n"


def write(tmp_path: Path, text: str, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_ones_own_requests_are_five_columns(tmp_path: Path) -> None:
    jobs = read(
        write(tmp_path, REQUESTS + "5,60,trainer,x-1,ml/dev\n0.5,2.5,trainer,,ml/dev\n5,1,other,,\n"), "requests"
    )
    assert [(job.arrival_s, job.duration_s, job.key.image, job.group, job.key.tenant) for job in jobs] == [
        (0.5, 2.5, "trainer", "", "ml/dev"), (5.0, 60.0, "trainer", "x-1", "ml/dev"), (5.0, 1.0, "other", "", "trace"),
    ]  # fmt: skip
    assert jobs[0].key is jobs[1].key


def test_a_compressed_trace_is_no_text_and_one_through_a_pipe_is_read(tmp_path: Path) -> None:
    packed, pipe = tmp_path / "trace.csv.gz", tmp_path / "pipe"
    packed.write_bytes(gzip.compress(f"{REQUESTS}5,60,trainer,,t\n".encode()))
    for format_ in ("requests", "philly", "azure", "history"):
        with pytest.raises(
            Unreadable, match=r"gz, line 1, column 1: it is no UTF-8 text\. If it is compressed, unpack"
        ):
            read(packed, format_)
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(gzip.decompress(packed.read_bytes())))
    writer.start()
    assert len(read(pipe, "requests")) == 1
    writer.join()


def test_philly_is_keyed_by_virtual_cluster_and_gpus(tmp_path: Path) -> None:
    text = "timestamp,duration,num_gpus,gpu_time,cluster\n2017-09-07 03:58:57,3256045.0,2,3256045.0,6214e9\n"
    (job,) = read(write(tmp_path, text), "philly")
    assert (job.arrival_s, job.duration_s) == (1504756737.0, 3256045.0)
    assert (job.key.tenant, job.key.shape.head.gpu) == ("6214e9", 2)


def test_openb_leaves_out_what_was_never_scheduled_and_what_was_there_before(tmp_path: Path) -> None:
    rows = (
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
        "creation_time,deletion_time,scheduled_time\n"
        "a,6000,12288,1,460,,LS,Running,427061,12902960,427061\n"
        "b,6000,12288,1,460,V100M16,LS,Running,9960001,9960100,9960005\n"
        "c,6000,12288,1,460,,LS,Pending,9960002,9960100,\n"
    )
    (job,) = read(write(tmp_path, rows), "openb")
    assert (job.arrival_s, job.duration_s) == (9960001.0, 95.0)
    assert (job.key.footprint.milli_cpu, job.key.footprint.memory_bytes) == (6000, 12288 * 2**20)


def test_azure_of_2021_tells_when_an_invocation_ended(tmp_path: Path) -> None:
    (job,) = read(write(tmp_path, "app,func,end_timestamp,duration\na,f,10.5,2.5\n"), "azure")
    assert (job.arrival_s, job.duration_s) == (8.0, 2.5)


def test_azure_of_2019_counts_per_minute_and_has_durations_beside(tmp_path: Path) -> None:
    minutes = ",".join(str(n) for n in range(1, 1441))
    counts = ",".join(["2", "0", "1"] + ["0"] * 1437)
    head = "HashOwner,HashApp,HashFunction,Trigger,"
    path = write(tmp_path, f"{head}{minutes}\no,a,f,http,{counts}\n", "invocations_per_function_md.anon.d01.csv")
    with pytest.raises(Unreadable, match=r"durations file of their day"):
        read(path, "azure")
    text = "HashOwner,HashApp,HashFunction,Average,Count\no,a,f,1500,3\n"
    write(tmp_path, text, "function_durations_percentiles.anon.d01.csv")
    jobs = read(path, "azure")
    assert [(job.arrival_s, job.duration_s) for job in jobs] == [(15.0, 1.5), (45.0, 1.5), (150.0, 1.5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: there is no column arrival_s; the first line has nothing"),
        ("arrival_s,key\n", "line 1, column 1: there is no column duration_s; the first line has arrival_s, key"),
        (REQUESTS, "line 2, column 1: there is no job in it"),
        (REQUESTS + "1,2,k,,\n1,soon,k,,\n", "line 3, column 2 (duration_s): 'soon' is not a number"),
        (REQUESTS + "1,-2,k,,\n", "line 2, column 2 (duration_s): '-2' is less than 0"),
        (REQUESTS + "nan,2,k,,\n", "line 2, column 1 (arrival_s): 'nan' is not a number"),
        (REQUESTS + "1,2,,,\n", "line 2, column 3 (key): is empty"),
        (REQUESTS + "1,2\n", "line 2, column 3 (key): is missing; the row has 2 of 5 columns"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(Unreadable) as failed:
        read(path, "requests")
    assert str(failed.value).startswith(f"{path}, {said}")


def test_a_file_that_is_no_text_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(REQUESTS.encode() + b"1,2,\xff\xfe,,\n")
    with pytest.raises(Unreadable, match=r"line 2, column 3 \(key\): is not UTF-8 text"):
        read(path, "requests")


def test_generated_workflows_are_the_same_for_the_same_seed() -> None:
    small = Demand(workflows=5, days=1.0, executions_per_day=50.0)
    jobs = generate(small, 3)
    assert jobs == generate(small, 3)
    assert jobs != generate(small, 4)
    assert jobs == sorted(jobs, key=lambda job: job.arrival_s)
    assert all(isinstance(job, Job) and job.duration_s > 0 and job.group for job in jobs)


def test_generated_workflows_have_the_published_shape() -> None:
    jobs = generate(Demand(workflows=400, days=7.0, executions_per_day=1000.0), 1)
    executions = {job.group for job in jobs}
    assert 2.5 < len(jobs) / len(executions) < 7.0
    by_day = [sum(int(job.arrival_s // 86_400) == day for job in jobs) for day in range(7)]
    assert by_day[4] > 1.5 * by_day[6], "Friday is the busiest day, and Sunday the least"


HISTORY = "lease,arrival_s,wait_s,duration_s,pool,pool_name,tenant,group,outcome,reason,end_reason,key\n"
KEY = '{"image":"trainer","tenant":"ml/dev","shape":{"head":{"cpu":"2","gpu":1}}}'
LINE = '{"arrival_s": 5, "duration_s": 60.5, "group": "x-1", "key": ' + KEY + "}"


def quoted(key: str) -> str:
    return '"' + key.replace('"', '""') + '"'


@pytest.mark.parametrize(
    "text", [f"{HISTORY}l-1,5,0.0,60.5,p,default,ml/dev,x-1,hit,,released,{quoted(KEY)}\n", f"{LINE}\n\n"]
)
def test_a_daemons_history_is_csv_or_json_with_whole_keys(tmp_path: Path, text: str) -> None:
    (job,) = read(write(tmp_path, text), "history")
    assert (job.arrival_s, job.duration_s, job.group) == (5.0, 60.5, "x-1")
    assert (job.key.tenant, job.key.footprint.milli_cpu, job.key.footprint.gpu) == ("ml/dev", 2000, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HISTORY}l-1,x,0,6,p,d,t,,hit,,,{quoted(KEY)}\n", "line 2, column 2 (arrival_s): 'x' is not a number."),
        (f"{HISTORY}l-1,1,0,-6,p,d,t,,hit,,,{quoted(KEY)}\n", "line 2, column 4 (duration_s): '-6' is less than 0."),
        (f"{HISTORY}l-1,1,0,6,p,d,t,,hit,,,what\n", "line 2, column 12 (key): is no key: it is not a JSON object."),
        (f"{HISTORY}l-1,1,0,6,p,d,t,,hit,,,{quoted('{}')}\n", "line 2, column 12 (key): key.image: "),
        (f"{HISTORY}l-1,1,0,6\n", "line 2, column 12 (key): is missing; the row has 4 of 12 columns."),
        ("arrival_s,duration_s,group\n", "line 1, column 1: there is no column key; "),
        (f'{LINE}\n{{"arrival_s": 1,\n', "line 2, column 17: it is not JSON ("),
        (f'{LINE}\n{{"arrival_s": 1}}\n', "line 2, column 1: there is no field duration_s."),
        (LINE.replace("60.5", '"long"'), "line 1, column 2 (duration_s): 'long' is not a number."),
    ],
)
def test_history_that_cannot_be_read_is_named_by_file_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(Unreadable) as error:
        read(path, "history")
    assert error.value.detail.startswith(f"{path}, {said}")
