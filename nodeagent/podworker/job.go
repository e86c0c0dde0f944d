package podworker

// A job is what waits for somebody else, as a pull does for a registry. It runs beside its worker, which goes on meanwhile: it hears news,
// believes looks at the machine, and can end the MiniPod. A job touches nothing that is the worker's. Its end is a change like that
// of an action, and is made by the worker when it next looks into its inbox; by then the job may be one that nobody wants any more, which
// the change has to find out.

// beside runs a job.
func (w *worker) beside(job func() change) {
	go func() {
		end := job()
		w.tell(func(in *inbox) { in.ended = append(in.ended, end) })
	}()
}
