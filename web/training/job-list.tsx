/** Jobs one below the other. */
import type { Job } from "../client/fine-tuning.js";
import { JobCard, type JobCardProps } from "./job-card.js";

interface JobListProps extends Pick<JobCardProps, "onChanged" | "onStarted"> {
  readonly jobs: readonly Job[];
  /** Of the jobs on the chart, by their ids. */
  readonly colours: ReadonlyMap<string, string>;
  readonly onToggle: (id: string) => void;
}

export function JobList({ jobs, colours, onToggle, ...handlers }: JobListProps) {
  return (
    <ul class="jobs">
      {jobs.map((job) => (
        <JobCard
          key={job.id}
          job={job}
          colour={colours.get(job.id) ?? null}
          onToggle={() => onToggle(job.id)}
          {...handlers}
        />
      ))}
    </ul>
  );
}
