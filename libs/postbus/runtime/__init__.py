"""What every process needs: settings, logs, telemetry, health, drain, supervision and the embedded parts."""
