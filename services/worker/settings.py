"""Settings of the worker."""

from pydantic import Field

from costlab.service.settings import PostgresUrl, ServiceSettings

MAX_JOB_MS = 1000


class WorkerSettings(ServiceSettings):
    """What the worker is told by the environment."""

    database_url: PostgresUrl = Field(description="PostgreSQL as role worker")
    job_cpu_ms: float = Field(2.0, ge=0, le=MAX_JOB_MS, description="CPU a job takes unless it says otherwise, in ms")
    job_wait_ms: float = Field(10.0, ge=0, le=MAX_JOB_MS, description="how long a job waits unless it says otherwise")
    job_attempts: int = Field(5, ge=1, le=100, description="failures after which a job becomes a dead letter")
    job_claim_ms: int = Field(
        5000, ge=50, le=3_600_000, description="after this long without a sign a job is taken over; longer than any job"
    )
