"""What the timer on RabbitMQ is made of."""
