"""What AION runs on: development servers, compose and cluster files."""
