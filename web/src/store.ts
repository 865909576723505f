// Observable values.

/** A value with observers. */
export class Store<T> {
  private readonly observers = new Set<(value: T) => void>();

  constructor(private current: T) {}

  get value(): T {
    return this.current;
  }

  set(value: T): void {
    if (Object.is(value, this.current)) return;
    this.current = value;
    for (const observer of [...this.observers]) observer(value);
  }

  /** Calls `observer` after every change, until the returned function is called. */
  on(observer: (value: T) => void): () => void {
    this.observers.add(observer);
    return () => this.observers.delete(observer);
  }
}
