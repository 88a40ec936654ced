"""What the timer on the job stores of APScheduler is made of."""
